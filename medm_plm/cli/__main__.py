"""`python -m medm_plm.cli`, and `accelerate launch -m medm_plm.cli pretrain ...` for several processes."""

from medm_plm.cli.dispatch import main

if __name__ == "__main__":
    main()
