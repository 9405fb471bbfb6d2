"""A second device that computes on the CPU: what would go wrong on a GPU goes wrong here, on any machine.

    with second_device() as log:
        x = torch.rand(3, device=GPU)        # says device="gpu:0", holds its numbers on the CPU
        x + torch.rand(3)                    # RuntimeError: two devices
        x.sum().item()                       # counted in log.synchronisations

Tensors of the device are of a subclass that wraps a CPU tensor; torch knows the device as its backend
"PrivateUse1", so that `torch.device("gpu")`, `fork_rng` and `nn.Module.to` treat it as they treat CUDA.
Gradients of any order, `torch.func` and `vmap` work, and take the ways that they take on a GPU: no `is_cpu`,
no memory format inside `vmap`, fused cells in recurrent layers, fewer checks in `one_hot`.

What CUDA refuses is refused: an operation on tensors of both devices, but for CPU tensors of no dimension where
it acts on each number by itself; a CPU generator for a tensor of the device; NumPy. What makes CUDA wait is
counted, at the line that asked: reading a number, a copy in either direction (unless uploaded with
`non_blocking=True`), indexing by a mask or by a CPU tensor, and operations whose result's size, or whose
validity, only the device knows. Random numbers come from the CPU's default generator, so they are the CPU's.

Not simulated: what the device would compute differently, its speed, and its memory.
"""

from __future__ import annotations

import linecache
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.utils.backend_registration as registration
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# Experimental in torch, and younger than the oldest torch that the package supports.
AVAILABLE = hasattr(registration, "_setup_privateuseone_for_python_backend")
GPU = torch.device("cpu")
if AVAILABLE:

    class _Module(registration._DummyBackendModule):
        """What `torch.gpu` is: it draws on the CPU, so that it has no random state of its own to seed or keep."""

        def get_rng_state(self, device: Any = 0) -> Tensor:
            return torch.zeros(0, dtype=torch.uint8)

        def set_rng_state(self, state: Tensor, device: Any = 0) -> None:
            pass

        def manual_seed(self, seed: int) -> None:
            pass

    registration._setup_privateuseone_for_python_backend("gpu", _Module())
    GPU = torch.device("gpu:0")

aten = torch.ops.aten
THIS = Path(__file__)
TORCH = Path(torch.__file__).parent


@dataclass
class Log:
    """What happened, by operation and line: how often the program waited, and where devices were mixed."""

    synchronisations: Counter[str] = field(default_factory=Counter)
    mixed: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.synchronisations.clear()
        self.mixed.clear()

    def waits(self, what: str) -> None:
        self.synchronisations[f"{what} at {_line()}"] += 1

    def refuse(self, what: str) -> RuntimeError:
        self.mixed[f"{what} at {_line()}"] += 1
        return RuntimeError(f"Expected all tensors to be on the same device: {what} at {_line()}")


LOG = Log()


def _line() -> str:
    """The line of code that is not torch's and not this file's, from which an operation was called."""
    frame = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if name != str(THIS) and not name.startswith((str(TORCH), "<frozen", "<string")):
            line = linecache.getline(name, frame.f_lineno).strip()
            return f"{Path(name).name}:{frame.f_lineno} {line}"
        frame = frame.f_back  # type: ignore[assignment]
    return "autograd's own thread"


class OnGPU(Tensor):
    """A tensor that says it is on the second device, around the CPU tensor `raw` that holds its numbers."""

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, raw: Tensor) -> OnGPU:
        self: OnGPU = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.shape, strides=raw.stride(), storage_offset=raw.storage_offset(),
            dtype=raw.dtype, layout=raw.layout, device=GPU,
        )  # fmt: skip
        self.raw = raw.detach()
        return self

    def __repr__(self, **_: Any) -> str:
        return f"OnGPU({self.raw!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = OnGPU(self.raw.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else super().__format__(spec)

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a tensor of the second device to numpy: call cpu() first")

    __array__ = numpy

    # These ask for the memory behind a tensor, of which a wrapper has none.
    def tolist(self) -> Any:
        LOG.waits("tolist")
        return self.raw.tolist()

    def data_ptr(self) -> int:
        return self.raw.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.raw.untyped_storage()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        return _run(func, args, kwargs or {})


INDEXING = {
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default, aten._unsafe_index.Tensor, aten._unsafe_index_put.default,
}  # fmt: skip
# Where a CPU tensor of no dimension may stand beside others, besides operations on single numbers.
SCALARS = {
    aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.fill.Tensor, aten.fill_.Tensor,
    aten.index_fill.int_Tensor, aten.index_fill_.int_Tensor, aten.where.self,
}  # fmt: skip
# The size of the result, or whether there is one, is known to the device alone. CUDA's `multinomial`
# reads whether the probabilities are valid.
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique", "_unique2", "unique_dim",
    "unique_consecutive", "unique_dim_consecutive", "multinomial", "bincount", "_linalg_check_errors",
    "_linalg_eigh", "_linalg_svd", "linalg_lstsq", "is_nonzero",
}  # fmt: skip


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation: refused, or counted and computed on the CPU and its result put on the device."""
    leaves = tree_leaves((args, kwargs))
    here = [t for t in leaves if isinstance(t, OnGPU)]
    asked = kwargs.get("device")
    to_gpu = asked is not None and torch.device(asked).type == GPU.type
    if not here and not to_gpu:
        return func(*args, **kwargs)
    if func is aten._to_copy.default:
        return _to(args[0], kwargs, to_gpu if asked is not None else isinstance(args[0], OnGPU))
    if func is aten.copy_.default:
        return _copy(*args, **kwargs)
    _refuse(func, args, leaves, here)

    name = func._schema.name.removeprefix("aten::")
    unknown = func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None
    if name in WAITING or unknown:
        LOG.waits(name)
    elif func in INDEXING:
        _count_index(args)
    if to_gpu:
        kwargs = {**kwargs, "device": "cpu"}
    plain, plain_kwargs = tree_map(_plain, (args, kwargs))
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        out = FUSED.get(func, func)(*plain, **plain_kwargs)
        if torch.Tag.inplace_view in func.tags:  # the shape that the wrapper tells changes, too
            func(*args, **kwargs)
    of = {id(t.raw): t for t in here}  # what was changed in place is the tensor that it was
    for t in here:
        if t.raw.shape != t.shape or t.raw.stride() != t.stride():
            raise NotImplementedError(f"{func} changes the shape of a tensor in place")

    def wrapped(t: Any) -> Any:
        if not isinstance(t, Tensor):
            return t
        return of[id(t)] if id(t) in of else OnGPU(t)

    return tree_map(wrapped, out)


def _plain(x: Any) -> Any:
    return x.raw if isinstance(x, OnGPU) else x


def _to(x: Tensor, kwargs: dict[str, Any], to_gpu: bool) -> Tensor:
    """`x.to(...)`, in whichever direction."""
    kwargs = {k: v for k, v in kwargs.items() if k != "device"}
    blocking = not kwargs.pop("non_blocking", False)
    if isinstance(x, OnGPU) and not to_gpu:
        LOG.waits("copy to the CPU")
    elif not isinstance(x, OnGPU) and to_gpu and blocking:
        LOG.waits("copy from the CPU")
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        out: Tensor = aten._to_copy.default(_plain(x), **kwargs)
    return OnGPU(out) if to_gpu else out


def _copy(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """`to.copy_(source)`, in whichever direction."""
    if isinstance(source, OnGPU) and not isinstance(to, OnGPU):
        LOG.waits("copy to the CPU")
    elif isinstance(to, OnGPU) and not isinstance(source, OnGPU) and not non_blocking:
        LOG.waits("copy from the CPU")
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        _plain(to).copy_(_plain(source))
    return to


def _refuse(func: Any, args: Any, leaves: list[Any], here: list[OnGPU]) -> None:
    """Raise where CUDA would, of what is on two devices."""
    if any(isinstance(x, torch.Generator) and x.device.type == "cpu" for x in leaves):
        raise LOG.refuse(f"a CPU generator for {func}")
    cpu = [t for t in leaves if isinstance(t, Tensor) and not isinstance(t, OnGPU)]
    if not here or not cpu:
        return
    if func in INDEXING and isinstance(args[0], OnGPU):
        indices = {id(t) for t in args[1] if t is not None}
        cpu = [t for t in cpu if id(t) not in indices and t.dim()]
    elif (torch.Tag.pointwise in func.tags or func in SCALARS) and not (
        func._schema.is_mutable and not isinstance(args[0], OnGPU)
    ):
        cpu = [t for t in cpu if t.dim()]
    if cpu:
        shapes = ", ".join(str(list(t.shape)) for t in cpu)
        raise LOG.refuse(f"{func} of {[list(t.shape) for t in here]} and, on the CPU, {shapes}")


def _count_index(args: Any) -> None:
    indices = [t for t in args[1] if t is not None]
    masks = [t for t in indices if t.dtype in (torch.bool, torch.uint8)]
    fill = len(args) > 2 and args[2].dim() == 0 and len(masks) == len(indices)
    if masks and not fill:  # one number for all that is chosen needs no list of them
        LOG.waits("index by a mask")
    if any(not isinstance(t, OnGPU) for t in indices):
        LOG.waits("index by a CPU tensor")


# Recurrent cells are one fused operation on a GPU, which the CPU lacks.
def _lstm(ig: Tensor, hg: Tensor, c: Tensor, ib: Tensor | None = None, hb: Tensor | None = None) -> Any:  # fmt: skip
    z = ig + hg + (0 if ib is None or hb is None else ib + hb)
    i, f, g, o = z.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c, torch.cat([i, f, g, o], 1)


def _lstm_back(
    gh: Tensor | None, gc: Tensor | None, c: Tensor, new: Tensor, gates: Tensor, bias: bool
) -> Any:
    i, f, g, o = gates.chunk(4, 1)
    gh = torch.zeros_like(c) if gh is None else gh
    tanh = new.tanh()
    gc = gh * o * (1 - tanh**2) + (0 if gc is None else gc)
    parts = gc * g * i * (1 - i), gc * c * f * (1 - f), gc * i * (1 - g**2), gh * tanh * o * (1 - o)
    z = torch.cat(parts, 1)
    return z, gc * f, z.sum(0) if bias else z.new_zeros(0)


def _gru(ig: Tensor, hg: Tensor, h: Tensor, ib: Tensor | None = None, hb: Tensor | None = None) -> Any:  # fmt: skip
    (ir, iz, i_n), (hr, hz, hn) = (
        (x if b is None else x + b).chunk(3, 1) for x, b in ((ig, ib), (hg, hb))
    )
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    n = (i_n + r * hn).tanh()
    return (h - n) * z + n, torch.cat([r, z, n, h, hn], 1)


def _gru_back(gh: Tensor, kept: Tensor, bias: bool) -> Any:
    r, z, n, h, hn = kept.chunk(5, 1)
    g_n, g_z = gh * (1 - z) * (1 - n**2), gh * (h - n) * z * (1 - z)
    g_r = g_n * hn * r * (1 - r)
    ig, hg = torch.cat([g_r, g_z, g_n], 1), torch.cat([g_r, g_z, g_n * r], 1)
    return ig, hg, gh * z, *((ig.sum(0), hg.sum(0)) if bias else (gh.new_zeros(0),) * 2)


def _math(*_: Any, **__: Any) -> int:
    return 0  # of the ways to compute attention, the one that is written in plain operations


FUSED: dict[Any, Callable[..., Any]] = {
    aten._thnn_fused_lstm_cell.default: _lstm,
    aten._thnn_fused_lstm_cell_backward_impl.default: _lstm_back,
    aten._thnn_fused_gru_cell.default: _gru,
    aten._thnn_fused_gru_cell_backward.default: _gru_back,
    aten._fused_sdp_choice.default: _math,
}


class _Mode(TorchDispatchMode):
    """Sees the operations that make a tensor on the device from nothing."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        if OnGPU not in types and kwargs.get("device") is None:
            return func(*args, **kwargs)  # on the CPU, where most of a program is
        return _run(func, args, kwargs)


def _empty(size: Any, dtype: Any = None, memory_format: Any = None, **_: Any) -> Tensor:
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        return OnGPU(torch.empty(size, dtype=dtype, memory_format=memory_format))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> Tensor:
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        return OnGPU(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, to: Tensor, non_blocking: bool = False) -> Tensor:
    return _copy(to, source, non_blocking)


if AVAILABLE:  # what torch makes where no mode sees it, of a list among indices for instance
    LIBRARY = torch.library.Library("aten", "IMPL")
    LIBRARY.impl("empty.memory_format", _empty, "PrivateUse1")
    LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
    LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")


@contextmanager
def second_device() -> Iterator[Log]:
    """Switch the device on; the log is cleared before."""
    original = nn.Module._apply

    # `model.to("cuda")` leaves the parameters the objects that they are, of which an optimizer may know.
    # So does this, which torch can do for a subclass by swapping; it swaps where nothing moves, too.
    def apply(module: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
        if all(fn(t) is t for t in [*module.parameters(), *module.buffers()]):
            return module
        swap = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return original(module, fn, recurse)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swap)

    nn.Module._apply = apply  # type: ignore[method-assign, assignment]
    LOG.clear()
    try:
        with _Mode():
            yield LOG
    finally:
        nn.Module._apply = original  # type: ignore[method-assign]
