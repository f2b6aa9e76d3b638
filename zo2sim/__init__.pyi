from zo2sim.facade import predict as predict
from zo2sim.facade import tune as tune
from zo2sim.facade import verify as verify

__version__: str
