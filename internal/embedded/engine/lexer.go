package engine

import "bytes"

// tokenKind is as coarse as the front's questions allow.
type tokenKind uint8

const (
	tokenEnd     tokenKind = iota
	tokenWord              // bare identifier or keyword
	tokenQuoted            // "identifier" or `identifier`
	tokenString            // 'literal' or $tag$heredoc$tag$
	tokenNumber            // starts with a digit
	tokenSymbol            // any other single byte
	tokenInvalid           // a quote or comment that never ends
)

// token is a piece of the text between two offsets.
type token struct {
	kind       tokenKind
	start, end int
}

// lexer splits SQL the way ClickHouse's lexer does, as far as the front needs
// it: to find the end of a statement's head without being misled by quotes,
// comments and heredocs. It never allocates and never looks past what it is
// asked for, because the bytes behind an INSERT's head may be anything.
type lexer struct {
	text []byte
	at   int
}

// next returns the next token that is not white space or a comment.
func (l *lexer) next() token {
	for l.at < len(l.text) {
		c := l.text[l.at]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			l.at++
		case c == '-' && l.has("--"), c == '#' && (l.has("# ") || l.has("#!")):
			end := bytes.IndexByte(l.text[l.at:], '\n')
			if end < 0 {
				l.at = len(l.text)
			} else {
				l.at += end + 1
			}
		case c == '/' && l.has("/*"):
			end := bytes.Index(l.text[l.at+2:], []byte("*/"))
			if end < 0 {
				return l.take(tokenInvalid, len(l.text))
			}
			l.at += 2 + end + 2
		case c == '\'':
			return l.quoted(c, tokenString)
		case c == '"' || c == '`':
			return l.quoted(c, tokenQuoted)
		case c == '$':
			return l.heredocOrWord()
		case isDigit(c):
			end := l.at + 1
			for end < len(l.text) && (isWord(l.text[end]) || l.text[end] == '.') {
				end++
			}
			return l.take(tokenNumber, end)
		case isWord(c):
			return l.take(tokenWord, l.wordEnd(l.at+1))
		default:
			return l.take(tokenSymbol, l.at+1)
		}
	}
	return token{kind: tokenEnd, start: len(l.text), end: len(l.text)}
}

func (l *lexer) has(prefix string) bool {
	return len(l.text)-l.at >= len(prefix) && string(l.text[l.at:l.at+len(prefix)]) == prefix
}

func (l *lexer) take(kind tokenKind, end int) token {
	t := token{kind: kind, start: l.at, end: end}
	l.at = end
	return t
}

func (l *lexer) wordEnd(at int) int {
	for at < len(l.text) && (isWord(l.text[at]) || l.text[at] == '$') {
		at++
	}
	return at
}

// quoted takes everything up to the closing quote; \x and a doubled quote don't close.
func (l *lexer) quoted(quote byte, kind tokenKind) token {
	for at := l.at + 1; at < len(l.text); at++ {
		switch l.text[at] {
		case '\\':
			at++
		case quote:
			if at+1 < len(l.text) && l.text[at+1] == quote {
				at++
				continue
			}
			return l.take(kind, at+1)
		}
	}
	return l.take(tokenInvalid, len(l.text))
}

// heredocOrWord takes $tag$ … $tag$, or else a word that begins with a dollar.
func (l *lexer) heredocOrWord() token {
	nameEnd := l.at + 1
	for nameEnd < len(l.text) && isWord(l.text[nameEnd]) {
		nameEnd++
	}
	if nameEnd < len(l.text) && l.text[nameEnd] == '$' {
		tag := l.text[l.at : nameEnd+1]
		if end := bytes.Index(l.text[nameEnd+1:], tag); end >= 0 {
			return l.take(tokenString, nameEnd+1+end+len(tag))
		}
	}
	return l.take(tokenWord, l.wordEnd(l.at+1))
}

// is tells whether t is the given keyword or symbol, whatever its case.
// upper must be in upper case.
func (l *lexer) is(t token, upper string) bool {
	if (t.kind != tokenWord && t.kind != tokenSymbol) || t.end-t.start != len(upper) {
		return false
	}
	for i := range len(upper) {
		c := l.text[t.start+i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isWord holds for identifier bytes; bytes beyond ASCII only occur inside
// quotes in valid SQL and count as part of a word, so that they stay together.
func isWord(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c >= 0x80
}
