"""The Open Inference Protocol over gRPC: each call passes the same application as a request over HTTP."""
