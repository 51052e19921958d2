"""Strategies for several processes: copies of the network (DDP), or a sharded network (FSDP2)."""

from typing import Any

from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

LARGE = 1_000_000  # parameters from which a module is sharded, gathered and freed on its own


class Copies(DDPStrategy):
    """DistributedDataParallel: every process holds the whole network, and gradients are averaged."""

    def configure_ddp(self) -> None:
        """Do not wait for gradients of unused parameters, in networks that declare some (`has_idle_parts`)."""
        assert self.lightning_module is not None
        idle = any(getattr(module, "has_idle_parts", False) for module in self.lightning_module.modules())
        self._ddp_kwargs["find_unused_parameters"] = idle
        super().configure_ddp()

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Bypass DDP, whose forward synchronises buffers: processes may have different numbers of batches."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)


class Shards(ModelParallelStrategy):
    """FSDP2: weights, gradients and optimiser state are sharded over the processes; checkpoints are whole."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Define how the network is sharded, which Lightning leaves to the module's `configure_model`."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()
        task: Any = self.lightning_module
        if self._layer_sync is not None:
            self._layer_sync.apply(task)
        mesh = self.device_mesh["data_parallel"]
        task.configure_model = lambda: shard(task.net, mesh)

    def on_validation_start(self) -> None:
        """Gather the network for the validation: processes may have different numbers of batches."""
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
    """Shard the parameters of `net` over `mesh`, in place: each large module on its own, the rest together."""
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
