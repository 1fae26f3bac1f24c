"""The lab: the hosts of the reference networks on one machine, with real packets between them.

Read network.py first: which hosts there are and how they are wired. Everything else makes that true:
wires.py lays the cables, keeper.py powers a host on, inside.py is a host's first process, image.py makes the
VPS's Debian, programs.py says what runs on a host, lab.py and cli.py are the commands.
"""
