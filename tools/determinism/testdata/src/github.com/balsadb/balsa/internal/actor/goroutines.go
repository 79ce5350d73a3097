package actor

import "time"

func start(turn func(time.Time)) { go turn(time.Now()) }
