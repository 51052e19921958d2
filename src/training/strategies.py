"""How the processes of a run share the work: copies of the net (DDP), or a net in shards (FSDP2)."""

from typing import Any

from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

LARGE = 1_000_000  # parameters of a part of the net that is gathered and freed on its own


class Copies(DDPStrategy):
    """DistributedDataParallel: every process holds the whole net, and gradients are averaged."""

    def configure_ddp(self) -> None:
        """Wait for no gradients of parts that a net has and does not use."""
        assert self.lightning_module is not None
        idle = any(getattr(module, "has_idle_parts", False) for module in self.lightning_module.modules())
        self._ddp_kwargs["find_unused_parameters"] = idle
        super().configure_ddp()

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Go past DDP, whose forward sends the first process's buffers around: shares of a split may be uneven."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)


class Shards(ModelParallelStrategy):
    """FSDP2: weights, gradients and the optimiser's state are split over the processes; checkpoints are whole."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Say how the net is split, which Lightning leaves to a method of the module."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()
        task: Any = self.lightning_module
        if self._layer_sync is not None:
            self._layer_sync.apply(task)
        mesh = self.device_mesh["data_parallel"]
        task.configure_model = lambda: shard(task.net, mesh)

    def on_validation_start(self) -> None:
        """Gather the net for as long as a split is measured: shares may be uneven, and no step waits for another."""
        for part in self._parts():
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()

    def on_validation_end(self) -> None:
        """Undo `on_validation_start`."""
        root, *parts = self._parts()
        for part in (root, *parts):
            part.set_reshard_after_forward(part is not root, recurse=False)
            part.reshard()

    def _parts(self) -> list[FSDPModule]:
        assert self.lightning_module is not None
        return [module for module in self.lightning_module.modules() if isinstance(module, FSDPModule)]


def shard(net: nn.Module, mesh: DeviceMesh) -> None:
    """Split the parameters of `net` over `mesh`, in place: each large part on its own, and the rest together."""
    if not isinstance(net, FSDPModule):
        for child in net.children():
            _shard_large(child, mesh)
        fully_shard(net, mesh=mesh)


def _shard_large(module: nn.Module, mesh: DeviceMesh) -> None:
    for child in module.children():
        _shard_large(child, mesh)
    left = sum(parameter.numel() for parameter in module.parameters() if not isinstance(parameter, DTensor))
    if left >= LARGE and not isinstance(module, nn.ModuleList | nn.ModuleDict):
        fully_shard(module, mesh=mesh)
