"""What every tile does in one superstep: idle tiles, balance, and which tile needs most memory."""

import numpy as np

import ipusim

report = ipusim.simulate("resnet50")
step = max(report.steps, key=lambda s: s.cycles)
tiles = step.tiles
print(f"slowest superstep: {step.name}, {step.cycles:,} cycles")
print(f"  {step.active_tiles} of {len(tiles.compute)} tiles compute, balance {step.balance:.2f}")
print(f"  a tile receives {int(tiles.received.mean()):,} bytes, the busiest {tiles.received.max():,}")
worst = report.memory.worst_tile
print(f"fullest tile: {worst}, {report.memory.max_tile_bytes:,} of {report.memory.tile_limit_bytes:,} bytes")
print("cycles of tile 0 over the run:", int(np.sum([s.tiles.compute[0] for s in report.steps])))
