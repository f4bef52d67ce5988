"""``python -m anomaly_vae`` is the command line."""

from anomaly_vae.cli import main

if __name__ == "__main__":
    main()
