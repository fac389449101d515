"""Virtual disks: the guest sees a disk that answers SCSI, the host sees a file.

Three parts that meet in two narrow places:

- :mod:`vsw.disk.blocks` maps bytes onto files, image formats and memory. It knows no SCSI.
- :mod:`vsw.disk.scsi` answers SCSI commands over any block backend. It knows no transport.
- :mod:`vsw.disk.serve` carries commands or blocks over a wire (iSCSI, NBD). It knows neither images nor commands.

Between the first two stands :class:`vsw.disk.blocks.Blocks`; between the last two :class:`vsw.disk.scsi.Nexus`, whose
``execute(lun, cdb, data_out)`` returns status, data and sense. A device fault is sense data; only a transport fault raises.
"""
