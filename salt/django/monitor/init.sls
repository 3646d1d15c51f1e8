# What watches the hosts of the map, and what they answer it by: see prometheus.sls, exporter.sls.

include:
  - django.monitor.exporter
  - django.monitor.prometheus
