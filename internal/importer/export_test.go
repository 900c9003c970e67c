package importer

import "time"

// WithSaveInterval lets tests save progress after every batch.
func (o Options) WithSaveInterval(d time.Duration) Options {
	o.saveInterval = d
	return o
}
