package actor

func post(m chan int) {
	go func() { m <- 1 }() // want `go: `
}
