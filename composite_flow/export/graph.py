"""A graph of ONNX, built operation by operation; every tensor has the batch as its leading axis, of any size."""

from typing import Any

import numpy as np

from composite_flow.errors import InputError

OPSET = 18


class Graph:
    """Operations in order, by names that it gives itself."""

    def __init__(self, name: str):
        """An empty graph."""
        self._helper, self._onnx = _onnx().helper, _onnx()
        self.name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, size: int) -> str:
        """An input of (batch, size)."""
        self._inputs.append(self._of_floats(name, size))
        return name

    def output(self, name: str, tensor: str, size: int) -> None:
        """Give a tensor of (batch, size) a name by which it is found."""
        self._nodes.append(self._helper.make_node("Identity", [tensor], [name]))
        self._outputs.append(self._of_floats(name, size))

    def constant(self, values: Any) -> str:
        """Weights, and whatever else does not change."""
        name = f"constant{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def apply(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """The result of one operation."""
        name = f"tensor{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    # --- what is made of several

    def times(self, tensor: str, matrix: Any) -> str:
        """x W."""
        return self.apply("MatMul", tensor, self.constant(matrix))

    def plus(self, tensor: str, values: Any) -> str:
        """x + b."""
        return self.apply("Add", tensor, self.constant(values))

    def scaled(self, tensor: str, factors: Any) -> str:
        """x b, entry by entry."""
        return self.apply("Mul", tensor, self.constant(factors))

    def squared(self, tensor: str) -> str:
        """x²."""
        return self.apply("Mul", tensor, tensor)

    def columns(self, tensor: str, first: int, stop: int) -> str:
        """x[:, first:stop]."""
        ends = [self.whole_numbers([first]), self.whole_numbers([stop]), self.whole_numbers([1])]
        return self.apply("Slice", tensor, *ends)

    def activated(self, tensor: str, activation: str) -> str:
        """The function of a hidden layer."""
        if activation in ("relu", "tanh"):
            return self.apply(activation.capitalize(), tensor)
        if activation == "silu":
            return self.apply("Mul", tensor, self.apply("Sigmoid", tensor))
        cube = self.apply("Mul", tensor, self.apply("Mul", tensor, tensor))
        inner = self.scaled(self.apply("Add", tensor, self.scaled(cube, 0.044715)), np.sqrt(2.0 / np.pi))
        return self.apply("Mul", self.scaled(tensor, 0.5), self.plus(self.apply("Tanh", inner), 1.0))

    def layers(self, conditions: str, width: int, hidden: list[Any], activation: str) -> str:
        """The last hidden layer, x_l = a(x_{l−1} W_l + c_l), of conditions c_l side by side."""
        x = self.activated(self.columns(conditions, 0, width), activation)
        for layer, weights in enumerate(hidden, start=1):
            condition = self.columns(conditions, layer * width, (layer + 1) * width)
            x = self.activated(self.apply("Add", self.times(x, weights), condition), activation)
        return x

    def serialized(self) -> bytes:
        """The model as bytes, once it is checked."""
        graph = self._helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._constants)
        opset = [self._helper.make_opsetid("", OPSET)]
        model = self._helper.make_model(graph, opset_imports=opset, ir_version=9, producer_name="composite-flow")
        self._onnx.checker.check_model(model)
        return model.SerializeToString()

    def _of_floats(self, name: str, size: int) -> Any:
        return self._helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, ["batch", size])

    def whole_numbers(self, values: list[int]) -> str:
        """Places of columns, and the like."""
        name = f"constant{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise InputError("Exporting needs onnx and onnxruntime: pip install 'composite-flow[export]'.") from None
    return onnx
