"""The probe: what onnxruntime measures beside what was predicted. The only package that imports onnxruntime."""
