"""Disentanglement: how well single axes of a code stand for single known factors. One metric a file, all on a `FactorTable`.

Metrics draw first which samples they need and have them encoded in one go, so that nothing is encoded twice. Given generators of the same
seed they begin with the same samples: MIG, DCI, SAP and modularity then share 15,000 codes.
"""
