"""A trained model as a program of its own, ONNX or `torch.export`, that runs without rnntrain.

`layers` and its neighbours write every recurrence so that a graph of any length holds it, `program` makes a function of
named tensors of a model, `onnx_file`, `int8` and `torch_file` write it, `verify` compares it with the model.
"""
