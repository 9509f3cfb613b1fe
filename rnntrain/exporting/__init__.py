"""A trained model as a program of its own, ONNX or `torch.export`, that runs without rnntrain.

`layers` writes every recurrence so that a graph of any length holds it, `program` makes a function of named tensors of
a model, `onnx_file` and `torch_file` write it, `verify` compares it with the model, `command` is what the verb calls.
"""
