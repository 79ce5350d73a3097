package server

import "time"

func serve() { go time.Sleep(time.Second) }
