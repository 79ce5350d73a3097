package main

import (
	"context"
	"slices"
	"time"

	"github.com/balsadb/balsa/bench/servers"
)

// memory puts many keys, and then looks at what each member takes.
func memory(ctx context.Context, s *settings, cluster *servers.Servers, _ scenario) (result, error) {
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
	slices.Sort(inMemory)
	slices.Sort(onDisk)
	return result{
		resident: median(inMemory) / (1 << 20), diskBytes: median(onDisk) / (1 << 20), loadTime: took.Seconds(),
	}, cluster.Agree(ctx)
}
