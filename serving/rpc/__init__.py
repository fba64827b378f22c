"""The Open Inference Protocol over gRPC: each call passes through the same application as a request over HTTP."""
