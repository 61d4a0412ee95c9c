"""How each operator is followed: as it computes, approximately, or not at all. `docs/operators.md` is this as a page."""

from collections.abc import Mapping

from initlint.operators import load

__all__ = ["APPROXIMATE", "CONTROL", "UNKNOWN", "table"]

# Operators whose result on draws is not what onnxruntime would give for each of them, and in what they differ.
APPROXIMATE: Mapping[str, str] = {
    "RandomNormal": "the same distribution from another generator, the same in every draw",
    "RandomNormalLike": "the same distribution from another generator",
    "RandomUniform": "the same distribution from another generator, the same in every draw",
    "RandomUniformLike": "the same distribution from another generator",
    "Bernoulli": "the same distribution from another generator",
    "Multinomial": "the same distribution from another generator",
    "NonMaxSuppression": "draws that keep different numbers of boxes are cut to the fewest",
    "Cast": "rounds to integers, bool and 8-bit floats; float16 and bfloat16 stay in the working type, unrounded",
    "CastLike": "as Cast",
    "Dropout": "as at inference",
    "BatchNormalization": "as at inference",
    "DynamicQuantizeLinear": "each draw by its own range, as one run would",
}
# Operators that are followed where certain inputs do not depend on the network's input, and are unknown otherwise.
CONDITIONAL: Mapping[str, str] = {
    "NonZero": "where its input is constant: the number of results differs between draws",
    "Compress": "where the condition is constant",
    "Unique": "where its input is constant",
    "Range": "where its bounds are constant",
    "MaxRoiPool": "where the regions are constant",
    "LSTM": "where all sequences are of full length",
    "GRU": "where all sequences are of full length",
    "RNN": "where all sequences are of full length",
    "com.microsoft::DynamicQuantizeLSTM": "where all sequences are of full length",
    "com.microsoft::GroupQueryAttention": "where all sequences are of one length and the cache is not quantised",
    "com.microsoft::Attention": "without a shared cache buffer and its own rotation",
    "com.microsoft::MultiHeadAttention": "without a shared cache buffer",
    "com.microsoft::MatMulNBits": "without a group index",
    "com.microsoft::RotaryEmbedding": "without a packed batch",
}
CONTROL: Mapping[str, str] = {
    "Constant": "read with the file",
    "If": "the branch taken; both, chosen draw by draw, where the condition depends on the input",
    "Loop": "round by round, up to 4,096; draws that end early keep their state",
    "Scan": "step by step, up to 4,096",
}
# Operators of the default domain that are not followed: what they give is unknown, and so is all that depends on it.
UNKNOWN = (
    "ImageDecoder", "LinearAttention", "Optional", "OptionalGetElement", "OptionalHasElement", "RegexFullMatch",
    "SequenceMap", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer", "ai.onnx.ml::CastMap",
    "ai.onnx.ml::CategoryMapper", "ai.onnx.ml::DictVectorizer", "ai.onnx.ml::LabelEncoder", "ai.onnx.ml::OneHotEncoder",
    "ai.onnx.ml::SVMClassifier", "ai.onnx.ml::SVMRegressor", "ai.onnx.ml::ZipMap",
)  # fmt: skip


def table() -> tuple[tuple[str, str, str], ...]:
    """(operator, exact | approximate | unknown, how), by domain and name."""
    rows = []
    for kind, function in load().items():
        how = "approximate" if kind in APPROXIMATE else "exact"
        text = (
            APPROXIMATE.get(kind)
            or CONDITIONAL.get(kind)
            or (function.__doc__ or "as its name says").partition("\n")[0]
        )
        rows.append((kind, how, text))
    rows += [(kind, "exact", text) for kind, text in CONTROL.items()]
    rows += [(kind, "unknown", "") for kind in UNKNOWN]
    return tuple(sorted(rows, key=lambda row: (row[0].count("::"), row[0])))
