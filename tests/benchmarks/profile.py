"""Where the time of a training step goes, by kind of operation."""

from collections import defaultdict
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear"),
    "attention's softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "fused attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "norms": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::_to_copy", "aten::clone"),
    "drawing dropout masks": ("aten::random_", "aten::ge"),
    "sums, additions, scaling": ("aten::add", "aten::add_", "aten::mul", "aten::mul_", "aten::sum"),
    "optimiser": ("aten::_fused_adamw_",),
}


def shares(run: Callable[[int], object], n: int) -> dict[str, float]:
    """Return the share of the time of n repetitions that each kind of operation takes itself.

    The rest is Python, dispatch, sampling and small operations.
    """
    with profile(activities=[ProfilerActivity.CPU]) as record:
        run(n)
    events = record.key_averages()
    kind_of = {name: kind for kind, names in KINDS.items() for name in names}
    time: dict[str, float] = defaultdict(float)
    for event in events:
        time[kind_of.get(event.key, "everything else")] += event.self_cpu_time_total
    total = sum(time.values())
    return {kind: time[kind] / total for kind in (*KINDS, "everything else")}
