package freeaddress

import (
	"math/rand/v2"
	"testing"
)

func TestNoAddressIsGivenTwice(t *testing.T) {
	const seed, n = 7, 50
	first, second := rand.New(rand.NewPCG(seed, seed)), rand.New(rand.NewPCG(seed, seed))
	seen := make(map[string]bool)
	for range n { // two stacks that draw alike, and whose processes are not up yet
		for _, random := range []*rand.Rand{first, second} {
			address := Find(random.IntN)
			if seen[address] {
				t.Fatalf("%s is given to two", address)
			}
			seen[address] = true
		}
	}
}

func TestThatNoAddressIsFreeIsSaid(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an address is given that was given before")
		}
	}()
	same := func(int) int { return 7 }
	Find(same)
	Find(same)
}
