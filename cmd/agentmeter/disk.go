package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// disk exports how full the file system of a data directory is.
type disk struct {
	dir        string
	free, size *prometheus.Desc
}

func newDisk(dir string) *disk {
	return &disk{
		dir:  dir,
		free: prometheus.NewDesc("agentmeter_data_directory_free_bytes", "Bytes that are free where the data directory is.", nil, nil),
		size: prometheus.NewDesc("agentmeter_data_directory_size_bytes", "Size of the file system that the data directory is on.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (d *disk) Describe(descs chan<- *prometheus.Desc) {
	descs <- d.free
	descs <- d.size
}

// Collect implements prometheus.Collector. Where the file system does not say,
// there is no figure.
func (d *disk) Collect(metrics chan<- prometheus.Metric) {
	var stat unix.Statfs_t
	if err := unix.Statfs(d.dir, &stat); err != nil {
		return
	}
	block := float64(stat.Bsize)
	metrics <- prometheus.MustNewConstMetric(d.free, prometheus.GaugeValue, float64(stat.Bavail)*block)
	metrics <- prometheus.MustNewConstMetric(d.size, prometheus.GaugeValue, float64(stat.Blocks)*block)
}
