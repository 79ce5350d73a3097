package main

import (
	"context"
	"time"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// memory puts many keys, and then looks at what each member takes.
func memory(ctx context.Context, s *settings, cluster *servers.Servers, _ scenario) (report.Result, error) {
	begin := time.Now()
	if err := preload(ctx, cluster, s.keys); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	inMemory, err := cluster.Resident()
	if err != nil {
		return nil, err
	}
	onDisk, err := cluster.DiskBytes()
	if err != nil {
		return nil, err
	}
	return report.Result{
		resident: report.Median(inMemory) / (1 << 20), diskBytes: report.Median(onDisk) / (1 << 20), loadTime: took.Seconds(),
	}, cluster.Agree(ctx)
}
