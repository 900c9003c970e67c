// Package fair shares out a capacity that many parties contend for: bytes of
// memory, turns of a database. Whoever asks for too much is refused before the
// others notice.
//
// A party may hold no more than what is left free. So one alone gets half of the
// capacity, two get a third each, and there is always room for one that comes
// anew: nobody has to be told beforehand how many parties there are, or what
// each may have. Of those that wait, the party that holds least is next. Where too
// many wait, the newest of the party with most of them is refused.
package fair
