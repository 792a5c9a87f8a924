"""Files of the authors' codes: names of their tensors, in ours, and what the files do not say."""

from fsseg.official_codes.codes import CODES, Code, code_of

__all__ = ["CODES", "Code", "code_of"]
