package auth

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// scriptedVerifier grants what it is told to, and counts how often it is asked.
type scriptedVerifier struct {
	asked  int
	access Access
	err    error
}

func (v *scriptedVerifier) Verify(context.Context, string) (Access, error) {
	v.asked++
	return v.access, v.err
}

func TestVerifiedTokensAreTakenAtTheirWordForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind := &scriptedVerifier{access: Access{Subject: "a", Expires: time.Now().Add(time.Hour)}}
		v := Remember(behind)
		expect := func(token string, asked int) {
			t.Helper()
			access, err := v.Verify(t.Context(), token)
			if err != nil || access.Subject != "a" {
				t.Fatalf("%+v, %v", access, err)
			}
			if behind.asked != asked {
				t.Errorf("verified %d times, want %d", behind.asked, asked)
			}
		}
		expect("token", 1)
		expect("token", 1)
		expect("token of somebody else", 2)
		<-time.After(rememberFor)
		expect("token", 3)
	})
}

func TestNoTokenOutlivesItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind := &scriptedVerifier{access: Access{Expires: time.Now().Add(rememberFor / 2)}}
		v := Remember(behind)
		if _, err := v.Verify(t.Context(), "token"); err != nil {
			t.Fatal(err)
		}
		<-time.After(rememberFor / 2)
		behind.err = ErrTokenExpired
		if _, err := v.Verify(t.Context(), "token"); !errors.Is(err, ErrTokenExpired) {
			t.Errorf("got %v, want that it has expired", err)
		}
	})
}

func TestRefusalsAreNotRemembered(t *testing.T) {
	behind := &scriptedVerifier{err: ErrTokenInvalid}
	v := Remember(behind)
	for range 2 {
		if _, err := v.Verify(t.Context(), "token"); !errors.Is(err, ErrTokenInvalid) {
			t.Fatal(err)
		}
	}
	behind.access, behind.err = Access{Expires: time.Now().Add(time.Hour)}, nil
	if _, err := v.Verify(t.Context(), "token"); err != nil {
		t.Errorf("what was refused before is refused for good: %v", err)
	}
}

func TestOnlySoManyTokensAreRemembered(t *testing.T) {
	v := Remember(&scriptedVerifier{access: Access{Expires: time.Now().Add(time.Hour)}}).(*remembering)
	for i := range 3 * rememberTokens {
		if _, err := v.Verify(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if n := len(v.verified); n > rememberTokens {
			t.Fatalf("%d tokens are remembered, at most %d", n, rememberTokens)
		}
	}
}
