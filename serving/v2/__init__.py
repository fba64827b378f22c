"""The Open Inference Protocol (V2) over HTTP, which Triton's, KServe's and MLServer's clients speak.

https://github.com/open-inference/open-inference-protocol, with Triton's extensions for binary tensor data
and for the model repository.
"""
