"""Read convolution weights out of an ONNX file that was converted from Keras. Only the stored arrays are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from tramtrack.errors import TramtrackError
from tramtrack.network.backbone import KerasLayer


def read_onnx(content: bytes, layers: Sequence[KerasLayer], source: str) -> dict[str, np.ndarray]:
    """The weights of ``layers`` (plain convolutions) as ``{"<layer>/<variable>": array}`` in Keras layout.

    tf2onnx stores the kernel of layer L as ``…/L_<n>/convolution/ReadVariableOp:0``, (out, in, rows, columns), and its bias
    as ``…/L_<n>/Squeeze:0``. Raises TramtrackError naming the layer that is missing or has another shape.
    """
    try:
        initialisers = {tensor.name: tensor for tensor in onnx.load_model_from_string(content).graph.initializer}
    except Exception as error:  # protobuf raises its own kinds
        raise TramtrackError(f"{source}: expected an ONNX model, found something else ({error})") from error
    tensors = {}
    kernels = {name for name, tensor in initialisers.items() if len(tensor.dims) == 4}
    for layer in layers:
        for variable, shape in layer.variables:
            ending = "convolution/ReadVariableOp:0" if variable == "kernel" else "Squeeze:0"
            named = [tensor for name, tensor in initialisers.items() if _is(name, layer.name, ending)]
            if len(named) != 1:
                raise TramtrackError(f"{source}: layer {layer.name}: {variable} missing; these are another network's weights")
            if named[0].data_location == onnx.TensorProto.EXTERNAL:
                raise TramtrackError(
                    f"{source}: layer {layer.name}: {variable} lies in another file; save the model with its weights inside"
                )
            array = numpy_helper.to_array(named[0])
            array = array.transpose(2, 3, 1, 0) if variable == "kernel" and array.ndim == 4 else array
            if array.shape != shape:
                raise TramtrackError(
                    f"{source}: layer {layer.name}: expected {variable} of shape {shape}, received {array.shape}; "
                    "these are the weights of another network"
                )
            tensors[f"{layer.name}/{variable}"] = np.ascontiguousarray(array)
            kernels.discard(named[0].name)
    if kernels:
        raise TramtrackError(f"{source}: {min(kernels)}: not one of the network's layers; these are another network's weights")
    return tensors


def _is(initialiser: str, layer: str, ending: str) -> bool:
    scope, found, rest = initialiser.partition(f"/{layer}_")
    return bool(found) and "/" not in scope and rest.partition("/")[2] == ending and rest.partition("/")[0].isdigit()
