"""Imported before torch, whose libraries read these when they are loaded: on shared cores OpenMP's threads must not spin for each
other, and OpenBLAS must not bring threads of its own."""
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
