"""How networks for tables are trained by default, without an import: the command line shows it at once.

SELU, some dropout and decoupled weight decay: D. Holzmueller et al., "Better by default", 2024.
"""

ACTIVATION = "selu"
DROPOUT = 0.1
OPTIMIZER = "adamw"
WEIGHT_DECAY = 0.1
EPOCHS, PATIENCE = 200, 20
UPDATES, PATIENT_UPDATES = 5000, 500  # at least: a small table has few of them in an epoch
