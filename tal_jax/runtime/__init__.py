"""What any JAX project needs: checkpoints, many devices and processes, files, Apache Beam."""
