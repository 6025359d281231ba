"""The machine as data: what a chip and a system are made of, and what moving data and waiting costs."""
