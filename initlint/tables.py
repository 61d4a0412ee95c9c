"""The fact tables: every column with its type, its unit and one sentence. Facts know no rules."""

import msgspec

__all__ = ["TABLES", "Column", "Table"]


class Column(msgspec.Struct, frozen=True):
    """One column: `kind` is SQLite's REAL, INTEGER or TEXT; counts are REAL so that ratios are never cut to integers."""

    name: str
    kind: str
    unit: str
    text: str


class Table(msgspec.Struct, frozen=True):
    """One table: what a row is, and its columns."""

    name: str
    row: str
    columns: tuple[Column, ...]

    def names(self) -> frozenset[str]:
        """The columns' names."""
        return frozenset(column.name for column in self.columns)


def _columns(text: str) -> tuple[Column, ...]:
    """Columns from lines `name | kind | unit | sentence`."""
    rows = (line.split("|", 3) for line in text.strip().splitlines())
    return tuple(Column(*(part.strip() for part in row)) for row in rows)


SIGNAL = """
mean                | REAL | value | Predicted mean over inputs, positions and channels.
std                 | REAL | value | Predicted total standard deviation over inputs, positions and channels.
signal_std          | REAL | value | Predicted part of it that depends on the input: root of the mean variance over input draws.
reference_std       | REAL | value | Largest signal std among the roots (inputs, embeddings) the tensor depends on.
cumulative_gain     | REAL | ratio | signal_std over reference_std.
absmax              | REAL | value | Largest predicted magnitude.
zero_fraction       | REAL | share | Predicted share of exact zeros.
nan_fraction        | REAL | share | Predicted share of NaN.
inf_fraction        | REAL | share | Predicted share of infinities.
dead_fraction       | REAL | share | Share of a rectifier's units that are active with a probability below 1 %.
saturated_fraction  | REAL | share | Share of a squashed output within 1.5 % of its range from an asymptote.
onehot_fraction     | REAL | share | Share of a softmax's rows whose largest probability is above 0.99.
uniform_fraction    | REAL | share | Share of a softmax's rows whose largest probability is below 1.1 / n.
headroom            | REAL | bits | log2 of the largest finite value of the tensor's own format over absmax.
gradient_std        | REAL | value | Root mean square gradient of a random combination of the outputs.
gradient_error_bits | REAL | bits | Standard error of log2(gradient_std).
error_bits          | REAL | bits | Standard error of log2(signal_std).
measured_mean       | REAL | value | Mean as onnxruntime computed it.
measured_std        | REAL | value | Total standard deviation as onnxruntime computed it.
measured_signal_std | REAL | value | Signal standard deviation as onnxruntime computed it.
measured_reference_std | REAL | value | Largest measured signal std among the tensor's roots.
measured_absmax     | REAL | value | Largest finite magnitude that onnxruntime computed.
measured_nans       | REAL | count | Rows that held a NaN in onnxruntime.
measured_infs       | REAL | count | Rows that held an infinity in onnxruntime.
measured_zero_fraction      | REAL | share | Share of exact zeros of a rectifier's output in onnxruntime.
measured_dead_fraction      | REAL | share | dead_fraction as onnxruntime computed it.
measured_saturated_fraction | REAL | share | saturated_fraction as onnxruntime computed it.
measured_gradient_std       | REAL | value | gradient_std by finite differences in onnxruntime.
measured_dead_directions    | REAL | share | Channels of a layer's or rectifier's output that do not move when the input moves.
"""

MODEL = """
name            | TEXT | | Key of the model: its path relative to the configuration, or the name given.
path            | TEXT | | Path as given.
sha256          | TEXT | | Hash of the file's content, where one was wanted.
bytes           | REAL | bytes | Size of the file and of its external data.
ir_version      | INTEGER | | IR version.
opset           | INTEGER | | Version of the default operator set.
producer        | TEXT | | Who wrote the file.
parameters      | REAL | count | Elements of all weights that belong to layers.
nodes           | REAL | count | Nodes, subgraphs included.
layers          | REAL | count | Nodes with a constant weight.
weight_slots    | REAL | count | Weight slots of those nodes.
unread_slots    | REAL | count | Weight slots whose values could not be read.
tensors         | REAL | count | Floating tensors between inputs and outputs.
known_tensors   | REAL | count | Those whose signal is known.
coverage        | REAL | share | known_tensors over tensors; NULL where there are none.
unknown_operators | TEXT | | Kinds of operators that were not understood, with how often each occurs.
phase           | TEXT | | init or trained, as judged.
phase_detected  | TEXT | | init, trained or undecided, as the weights say.
phase_confidence | REAL | share | How sure that is.
phase_reason    | TEXT | | What it rests on.
draws           | REAL | count | Joint draws of the input behind the prediction.
signal_span     | REAL | bits | log2 of the largest over the smallest signal std on the way to the output.
growth_layers   | REAL | count | Layers of the longest run on which the signal only grows, or only falls, by a steady factor.
growth_factor   | REAL | ratio | Mean factor a layer of that run.
growth_from     | TEXT | | First layer of that run.
growth_to       | TEXT | | Last layer of that run.
backward_range  | REAL | ratio | Gradient std at the first layer over that at the last.
probed          | INTEGER | 0/1 | Whether the probe ran.
probe_status    | TEXT | | measured, or why the probe gave nothing.
provider        | TEXT | | Providers that the probe ran on.
probe_message   | TEXT | | What came in its way.
probe_left_out  | TEXT | | Operators that did not run there, and what depends on them was not measured.
device_missed   | INTEGER | 0/1 | Whether a device was asked for and not used.
repeatable      | INTEGER | 0/1 | Whether two runs of one feed agree.
"""

LAYER = """
position        | INTEGER | | Order along the graph.
depth           | REAL | count | Layers on the longest path from the input, this one included.
name            | TEXT | | Name of the node.
node            | TEXT | | The same, as other tables call it.
op              | TEXT | | Operator, with its domain where that is not the default.
slot            | TEXT | | Which weight of the node.
weight          | TEXT | | Stored tensor that the weight comes from.
dtype           | TEXT | | Element type as stored.
shape           | TEXT | | Shape as stored.
count           | REAL | count | Elements.
outputs         | REAL | count | Output channels.
fan_in          | REAL | count | Terms summed into one output.
fan_out         | REAL | count | Outputs that one input reaches.
groups          | REAL | count | Groups, gates or batched matrices.
input           | TEXT | | Tensor that the weight multiplies.
output          | TEXT | | Tensor that comes out, bias included.
activation      | TEXT | | What the output goes through.
input_activation | TEXT | | What the input came through.
weight_mean     | REAL | value | Mean of the effective weight.
variance        | REAL | value^2 | Variance of the effective weight (dequantised, as the operator uses it).
weight_std      | REAL | value | Its root.
absmax_weight   | REAL | value | Largest magnitude.
kurtosis        | REAL | | Excess kurtosis; 0 for a normal, -1.2 for a uniform distribution.
histogram       | TEXT | | Shape of the distribution: 24 equal bins from -absmax_weight to absmax_weight, each a digit (0 to z) relative to the fullest.
constant        | INTEGER | 0/1 | Whether all weights are equal.
zero            | INTEGER | 0/1 | Whether all weights are zero.
finite          | INTEGER | 0/1 | Whether no weight is NaN or infinite.
fixed           | INTEGER | 0/1 | Whether it is a signal-processing basis and not learned.
table_lookup    | INTEGER | 0/1 | Whether it is an embedding: rows are selected, nothing is summed.
computed        | INTEGER | 0/1 | Whether the graph computes the weight from stored ones.
quantised       | INTEGER | 0/1 | Whether the weight is stored as integers.
target_rule     | TEXT | | Which rule gives the target: He, Glorot, LeCun or computed.
target_variance | REAL | value^2 | Variance that the activation calls for.
target_std      | REAL | value | Its root.
variance_ratio  | REAL | ratio | variance over target_variance.
median_ratio    | REAL | ratio | Median variance_ratio of the model's layers of this kind.
pytorch_init    | TEXT | | The line of PyTorch that gives the weights their target variance.
keras_init      | TEXT | | The argument of a Keras layer that does.
std_kept        | REAL | ratio | Share of the signal's std that these weights and this activation keep, by He's formula.
gain            | REAL | ratio | Predicted signal std of the output over that of the input.
backward_gain   | REAL | ratio | Gradient std at this layer's output over that at the last layer's.
he_product      | REAL | ratio | prod(1/2 n Var[w]) over the layers before and this one, as in the textbook.
measured_gain   | REAL | ratio | gain as onnxruntime computed it.
measured_jacobian_gain | REAL | ratio | How far the output moves for a small movement of the input, rms over rms.
measured_backward_gain | REAL | ratio | backward_gain by finite differences.
absorbed        | INTEGER | 0/1 | Whether every path behind normalises the output's scale away.
residual        | INTEGER | 0/1 | Whether the output is added to what its input came from.
signal_ends     | INTEGER | 0/1 | Whether nothing of the signal is left in the output.
initializer     | TEXT | | Initialiser the weights look like.
initializer_phrase | TEXT | | The same in words.
initializer_std | REAL | value | Standard deviation that initialiser has for these fans.
origin          | TEXT | | fresh, trained or unknown.
untrained       | INTEGER | 0/1 | Whether it is fresh among plainly trained neighbours.
edge_ratio      | REAL | ratio | Top singular value over the Marchenko-Pastur edge.
row_dispersion  | REAL | ratio | Spread of the outputs' norms over that of independent draws.
bias_kind       | TEXT | | none, zero, constant, drawn, learned or unknown.
dead_outputs    | REAL | share | Share of output channels whose weight norm is below 1e-7 of the layer's.
duplicated_outputs | REAL | count | Output channels that repeat an earlier one exactly.
statistics_fresh | INTEGER | 0/1 | For a BatchNormalization: recorded mean 0 and variance 1 throughout.
norm_degenerate | TEXT | | For a normalisation: what makes it degenerate, if anything.
statistics_shift | REAL | std | For a BatchNormalization: largest distance of its recorded mean from the predicted one, in recorded stds.
statistics_scale | REAL | bits | For a BatchNormalization: median of log2(predicted over recorded std).
"""

TENSOR = """
position        | INTEGER | | Order of computation.
name            | TEXT | | Name of the tensor, unique in the model.
node            | TEXT | | Node that makes it.
op              | TEXT | | Operator of that node.
dtype           | TEXT | | Element type.
shape           | TEXT | | Shape under the stated assumptions.
elements        | REAL | count | Elements of one draw.
depth           | REAL | count | Layers on the longest path to it.
known           | INTEGER | 0/1 | Whether its signal is known.
reason          | TEXT | | Why not.
absorbed        | INTEGER | 0/1 | Whether its scale is normalised away on every path.
mask            | INTEGER | 0/1 | Whether it carries a mask.
output          | INTEGER | 0/1 | Whether the model gives it out.
inner_softmax   | INTEGER | 0/1 | Whether it is a softmax inside the graph.
bounded         | INTEGER | 0/1 | Whether its operator bounds it (softmax, sigmoid, tanh, clip).
aside           | INTEGER | 0/1 | Whether it is a step of a normalisation, a softmax or a reduction and no carrier of the signal.
carrier         | INTEGER | 0/1 | Whether it lies on the way that carries the signal to an output.
largest         | REAL | value | Largest finite value of its element type.
smallest_normal | REAL | value | Smallest normal value of its element type.
epsilon         | REAL | share | Spacing of its element type's values, relative to their size.
first_not_finite | INTEGER | 0/1 | Whether no tensor it is computed from holds NaN or infinities.
"""

WEIGHT = """
name            | TEXT | | Stored tensor.
node            | TEXT | | First node that uses it.
slot            | TEXT | | Weight slot, bias or normalisation parameter it fills.
dtype           | TEXT | | Element type.
shape           | TEXT | | Shape.
count           | REAL | count | Elements.
mean            | REAL | value | Mean of the finite values.
variance        | REAL | value^2 | Variance of the finite values.
minimum         | REAL | value | Smallest finite value.
maximum         | REAL | value | Largest finite value.
absmax          | REAL | value | Largest finite magnitude.
zeros           | REAL | count | Exact zeros.
nans            | REAL | count | NaNs.
infs            | REAL | count | Infinities.
subnormals      | REAL | count | Values below the smallest normal of the stored type.
kurtosis        | REAL | | Excess kurtosis.
mask            | INTEGER | 0/1 | Whether it is a mask.
target_overflow | REAL | share | Share of values beyond the largest of the target format.
target_flush    | REAL | share | Share of non-zero values that become zero in the target format.
"""

EDGE = """
src   | TEXT | | Tensor read.
dst   | TEXT | | Tensor made from it.
depth | REAL | count | Layers on the longest path to dst.
"""

WAIVER = """
code    | TEXT | | Code it waives.
place   | TEXT | | Glob over node and weight names.
reason  | TEXT | | Why.
used    | INTEGER | 0/1 | Whether a finding matched it.
expired | INTEGER | 0/1 | Whether its date has passed.
expires | TEXT | | Its date.
"""

# Columns of the model that every rule may use beside its own table's.
SHARED = """
phase            | TEXT | | init or trained, as judged.
target_format    | TEXT | | Number format asked about with --target; float16 where none was.
target_asked     | INTEGER | 0/1 | Whether --target was given.
target_largest   | REAL | value | Largest finite value of the target format.
target_smallest  | REAL | value | Smallest normal value of the target format.
"""


def _table(name: str, row: str, *parts: str) -> Table:
    columns = tuple(column for part in parts for column in _columns(part))
    shared = tuple(column for column in _columns(SHARED) if column.name not in {item.name for item in columns})
    return Table(name, row, columns + shared)


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table("model", "the model", MODEL),
        _table("layer", "one weight slot of a node, or a normalisation", LAYER, SIGNAL),
        _table("tensor", "one floating tensor between inputs and outputs", TENSOR, SIGNAL),
        _table("weight", "one stored floating tensor", WEIGHT),
        _table("edge", "one tensor read for another", EDGE),
        _table("waiver", "one configured waiver", WAIVER),
    )
}
