"""Methods: one file per paper."""

from fsseg.methods.amcg import AMCG
from fsseg.methods.base import Method
from fsseg.methods.binary import BinaryMethod
from fsseg.methods.canet import CANet
from fsseg.methods.cofcn import CoFCN
from fsseg.methods.fgbg import FGBG
from fsseg.methods.fwb import FWB
from fsseg.methods.guided import GuidedNetworks
from fsseg.methods.hsnet import HSNet
from fsseg.methods.insid3 import INSID3
from fsseg.methods.kernel_density import KernelDensityRatio
from fsseg.methods.mixture_classifier import MixtureClassifier
from fsseg.methods.oslsm import OSLSM
from fsseg.methods.panet import PANet
from fsseg.methods.pfenet import PFENet
from fsseg.methods.pl import PL
from fsseg.methods.pmms import PMMs
from fsseg.methods.rpmms import RPMMs
from fsseg.methods.sgone import SGOne

__all__ = [
    "AMCG",
    "FGBG",
    "FWB",
    "INSID3",
    "OSLSM",
    "PL",
    "BinaryMethod",
    "CANet",
    "CoFCN",
    "GuidedNetworks",
    "HSNet",
    "KernelDensityRatio",
    "Method",
    "MixtureClassifier",
    "PANet",
    "PFENet",
    "PMMs",
    "RPMMs",
    "SGOne",
]
