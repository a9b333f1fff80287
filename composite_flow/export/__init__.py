"""What a model computes for one agent, as files that run without JAX: ONNX, with an agent in NumPy, or StableHLO.

`folder` writes them, `functions` and `filter_functions` say what they compute, `answer_graph`, `denoiser_graph` and
`filter_graph` build the graphs of ONNX with `graph`, and `standalone` is the agent that goes with them.
"""
