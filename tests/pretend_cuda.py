"""A CUDA device that is none: tensors that say they lie on it, computed by the CPU, refused what CUDA refuses.

Code for a GPU breaks where a tensor was left on the other device or is read as an array from there. That shows without
a card: within `pretend_cuda`, ``device="cuda"`` gives tensors of `OnCard`, whose operations must find their partners
beside them. Kernels and streams are not pretended; of the capture of a graph (`capturing`) only what it forbids.
Underneath, such a tensor counts as one of torch's meta device, which needs no driver.
"""

from contextlib import ExitStack, contextmanager, nullcontext
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("cuda", 0)
HIDDEN = torch.device("meta")
aten = torch.ops.aten
ACROSS_DEVICES = (aten._to_copy.default, aten.copy_.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)

PATCHES = {
    "torch.cuda.is_available": lambda: True,
    "torch.cuda.is_bf16_supported": lambda including_emulation=True: True,
    "torch.cuda.synchronize": lambda device=None: None,
    "torch.cuda.current_device": lambda: 0,
    "torch.cuda.current_stream": lambda device=None: "the only one",
    "torch.cuda.device": lambda card: nullcontext(),
    "torch.cuda.get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
    "torch.cuda.set_rng_state": lambda state, device=None: None,
    # Views of such tensors are not allowed in inference mode.
    "torch._C._InferenceMode": lambda mode: torch.set_grad_enabled(not mode),
    # It asks the driver.
    "torch.optim.Optimizer._accelerator_graph_capture_health_check": lambda self: None,
}


@contextmanager
def pretend_cuda():
    """Have a CUDA device until the block ends."""
    with ExitStack() as stack:
        for name, stub in PATCHES.items():
            stack.enter_context(mock.patch(name, stub))
        stack.enter_context(_Kernels())
        stack.enter_context(_Calls())
        yield


@contextmanager
def capturing():
    """Refuse what the capture of a CUDA graph refuses: what the processor has to wait for, and what it copies."""
    global _captures
    _captures = True
    try:
        yield
    finally:
        _captures = False


_captures = False


def record(run, device):
    """Do as `cs_recon.replay.record` does: run before, then allowing what a graph could hold alone, into one memory."""
    assert device == CARD
    run()
    with capturing():
        kept = run()

    def replay():
        with capturing():
            new = run()
        for mine, again in zip(_tensors_of(kept), _tensors_of(new), strict=True):
            mine.copy_(again)
        return kept

    return replay


def _tensors_of(out):
    return [out.image, out.log_sigma, *(maps for maps, _ in out.features.values())]


class OnCard(torch.Tensor):
    """A tensor on the card that is none; `held` has its values."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=HIDDEN, requires_grad=False,
        )  # fmt: skip
        made.held = held
        return made

    @property
    def device(self):
        return CARD

    @property
    def is_cuda(self):
        return True

    def __repr__(self):
        return f"OnCard({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What torch does before operations reach `_Kernels`: it names the device and reads lists and numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        if func is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        if func is torch.Tensor.new_tensor:
            func, kwargs = torch.tensor, {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            args = args[1:]
        if func in (torch.tensor, torch.as_tensor) and _named(kwargs.get("device")) == HIDDEN:
            del kwargs["device"]
            return func(*args, **kwargs).to(HIDDEN)
        return func(*(_named(each) for each in args), **{key: _named(each) for key, each in kwargs.items()})


class _Kernels(TorchDispatchMode):
    """Every operation on tensors of the card, or that makes one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(each, torch.Tensor) and each.is_inference() for each in leaves):
            with self:
                simpler = func.decompose(*args, **kwargs)
            if simpler is not NotImplemented:
                return simpler
        if _is_hidden(kwargs.get("device")) or any(isinstance(each, OnCard) for each in leaves):
            return _computed(func, args, kwargs)
        return func(*args, **kwargs)


def _named(value):
    """Return what torch is to be told in place of the name of a CUDA device."""
    is_card = isinstance(value, str | torch.device) and str(value).startswith("cuda")
    return HIDDEN if is_card else value


def _is_hidden(device):
    return device is not None and torch.device(device) == HIDDEN


def _computed(func, args, kwargs):
    """Run an operation on the values of its tensors; what it gives lies where they do, or where it is asked to."""
    _check(func, args, kwargs)
    asked = kwargs.get("device")
    bare_args, bare = tree_map(lambda x: x.held if isinstance(x, OnCard) else x, (args, kwargs))
    if asked is not None:
        bare["device"] = torch.device("cpu")
    out = func(*bare_args, **bare)
    if func is aten.copy_.default:
        return args[0]
    on_card = any(isinstance(each, OnCard) for each in tree_leaves((args, kwargs)))
    if not (on_card if asked is None else _is_hidden(asked)):
        return out
    out = tree_map(lambda x: OnCard(x.resolve_conj().resolve_neg()) if isinstance(x, torch.Tensor) else x, out)
    if func is aten._to_copy.default or not on_card:
        return out
    return return_and_correct_aliasing(func, args, kwargs, out)


def _stops_a_capture(func, args, kwargs):
    if func in (aten._local_scalar_dense.default, aten.nonzero.default):
        return True
    tensors = [isinstance(each, OnCard) for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    to = kwargs.get("device")
    moved = to is not None and any(on_card is not _is_hidden(to) for on_card in tensors)
    return func in ACROSS_DEVICES and (moved or len(set(tensors)) > 1)


def _check(func, args, kwargs):
    """Raise `RuntimeError` for operations across devices; numbers (0-D) may lie on the CPU, and indices too."""
    if _captures and _stops_a_capture(func, args, kwargs):
        raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
    if func in ACROSS_DEVICES:
        return
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    on_card = [each for each in tensors if isinstance(each, OnCard)]
    judged = tensors
    if func in INDEXED and isinstance(args[0], OnCard):
        judged = [each for each in args if isinstance(each, torch.Tensor)]
    if on_card and any(not isinstance(each, OnCard) and each.dim() for each in judged):
        where = ", ".join(f"{tuple(each.shape)} on {each.device}" for each in tensors)
        raise RuntimeError(f"{func}: expected all tensors to be on the same device and got {where}")
    generator = kwargs.get("generator")
    if generator is not None and (on_card or _is_hidden(kwargs.get("device"))):
        raise RuntimeError(f"{func}: expected a 'cuda' generator and got one of {generator.device}")
