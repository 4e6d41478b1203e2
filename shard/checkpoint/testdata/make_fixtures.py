#!/usr/bin/python3
"""Writes the files beside it with the real torch (Debian's python3-torch 1.13 made the ones that are committed).

torch-*.bin      state dictionaries: one that has every odd thing a checkpoint may have, and some that must be refused
torch-odd.json   what each tensor of torch-odd.bin holds, as hexadecimal float32 bits by row-major order
"""
import collections, json, os, struct
import torch

here = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20260101)


def save(name, value, **how):
    torch.save(value, os.path.join(here, name), **how)


def bits(t):
    return [struct.pack(">f", x).hex() for x in t.detach().float().contiguous().flatten().tolist()]


odd = torch.nn.Linear(3, 4, bias=False).state_dict()               # an OrderedDict with _metadata, hence BUILD
odd["f32"] = torch.randn(6, 5)
odd["f16"] = torch.randn(6, 5).half()
odd["bf16"] = torch.randn(6, 5).bfloat16()
odd["gain"] = torch.randn(7).bfloat16()
odd["parameter"] = torch.nn.Parameter(torch.randn(3, 4).half())
odd["transposed"] = torch.randn(5, 6).t()
base = torch.randn(8, 6)
odd["shared.whole"] = base                                          # four views of one storage
odd["shared.rows"] = base[2:5]
odd["shared.columns"] = base[:, 1:4]
odd["shared.column"] = base[:, 2]
odd["expanded"] = torch.randn(4).expand(3, 4)
odd["strided"] = torch.randn(8, 8)[::2, ::2]                        # readable by nobody who wants rows or columns
odd["special"] = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 6e-8, 65504.0, 1e-5]).half()
odd["bytes"] = torch.arange(4, dtype=torch.uint8)
save("torch-odd.bin", odd)
with open(os.path.join(here, "torch-odd.json"), "w") as f:
    json.dump({k: {"shape": list(v.shape), "bits": bits(v)} for k, v in odd.items() if k != "bytes"}, f)
    f.write("\n")

plain = {"a.weight": torch.randn(2, 3), "b.weight": torch.randn(3)}
save("torch-plain.bin", plain)                                      # a plain dictionary, as transformers' shards are
save("torch-legacy.bin", plain, _use_new_zipfile_serialization=False)
save("torch-nested.bin", {"state_dict": plain})
save("torch-list.bin", [plain["a.weight"]])
save("torch-tensor.bin", plain["a.weight"])
save("torch-long.bin", {"a.weight": torch.arange(3)})
save("torch-protocol4.bin", plain, pickle_protocol=4)
class Foreign:
    pass
save("torch-object.bin", {"a.weight": plain["a.weight"], "foreign": Foreign()})
