package engine

import (
	"bytes"
	"strings"
)

// statementKind says how a statement has to be run.
type statementKind uint8

const (
	kindOther   statementKind = iota // run as it is, the result is small
	kindSelect                       // may return much: streamed or bounded
	kindSession                      // changes the session, which is dropped afterwards
	kindInsert                       // INSERT … FORMAT f with data behind it
)

// statement is what the front has to know about a statement's text.
type statement struct {
	kind statementKind
	// text is the statement. For kindInsert it is the statement up to the data,
	// without the FORMAT clause.
	text []byte
	// format is the FORMAT clause's, empty without one.
	format string

	// Only for kindInsert.

	// data is what followed the statement's head in the same text.
	data []byte
	// spool is the place in text where the data's file is named.
	spool splice
}

// splice is where the name of the file with an INSERT's data goes.
type splice struct {
	// infile: at is behind the target, for "FROM INFILE 'path'". Otherwise the
	// statement reads input(…): at is the offset of "input" and open that of
	// the parenthesis behind it, close that of the closing one.
	infile          bool
	at, open, close int
}

// withData returns the statement as the engine shall run it, reading its data
// from the file at path. The path is the front's own and needs no escaping
// beyond the quotes.
func (s *statement) withData(path string) []byte {
	quoted := quoteString(path)
	var out bytes.Buffer
	if s.spool.infile {
		out.Write(s.text[:s.spool.at])
		out.WriteString(" FROM INFILE " + quoted + " COMPRESSION 'none' ")
		out.Write(s.text[s.spool.at:])
		out.WriteString(" FORMAT " + s.format)
		return out.Bytes()
	}
	out.Write(s.text[:s.spool.at])
	out.WriteString("file(" + quoted + ", " + quoteString(s.format) + ", ")
	out.Write(s.text[s.spool.open+1 : s.spool.close])
	out.WriteString(", 'none'")
	out.Write(s.text[s.spool.close:])
	return out.Bytes()
}

// parseStatement looks at a statement. The text of an INSERT may run on into
// its data, which is not looked at.
//
// It refuses what a server refuses over HTTP and the engine, left to itself,
// would do: several statements in one text, INTO OUTFILE and FROM INFILE.
func parseStatement(text []byte) (*statement, error) {
	p := parser{lexer: lexer{text: text}}
	first := p.next()
	for p.is(first, "(") {
		first = p.next()
	}
	switch {
	case first.kind == tokenEnd, p.is(first, ";"):
		return nil, exceptionf(codeSyntaxError, "SYNTAX_ERROR", "Empty query")
	case p.is(first, "INSERT"):
		return p.insert()
	case p.is(first, "SELECT"), p.is(first, "WITH"), p.is(first, "FROM"):
		p.kind = kindSelect
	case p.is(first, "SET"), p.is(first, "USE"), p.is(first, "BEGIN"), p.is(first, "COMMIT"), p.is(first, "ROLLBACK"), p.is(first, "EXECUTE"):
		p.kind = kindSession
	}
	p.depth = 0
	p.at = 0
	return p.whole()
}

type parser struct {
	lexer
	kind  statementKind
	depth int // of parentheses, brackets and braces
}

// step returns the next token and keeps count of the nesting.
func (p *parser) step() token {
	t := p.next()
	if t.kind == tokenSymbol {
		switch p.text[t.start] {
		case '(', '[', '{':
			p.depth++
		case ')', ']', '}':
			p.depth--
		}
	}
	return t
}

var (
	errMultiStatement = exceptionf(codeSyntaxError, "SYNTAX_ERROR", "Multi-statements are not allowed")
	// The name goes into the rewritten statement as it is, hence a bare word.
	errFormatName = exceptionf(codeSyntaxError, "SYNTAX_ERROR", "Expected a format's name behind FORMAT")
)

// whole scans a statement without data to its end.
func (p *parser) whole() (*statement, error) {
	s := &statement{kind: p.kind}
	var previous token
	for {
		t := p.step()
		switch {
		case t.kind == tokenEnd:
			s.text = p.text
			return s, nil
		case t.kind == tokenInvalid:
			// The engine explains what is wrong better than the front could.
			s.text = p.text
			return s, nil
		case p.is(t, ";"):
			if rest := p.next(); rest.kind != tokenEnd && !p.is(rest, ";") {
				return nil, errMultiStatement
			}
			s.text = p.text[:t.start]
			return s, nil
		case p.depth == 0 && p.is(t, "INTO"):
			if next := (&lexer{text: p.text, at: p.at}); next.is(next.next(), "OUTFILE") {
				return nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "INTO OUTFILE is not allowed over HTTP")
			}
		case p.depth == 0 && p.is(t, "TEMPORARY"), p.depth == 0 && p.is(t, "TEMP"):
			// A temporary table belongs to the session.
			s.kind = kindSession
		case p.depth == 0 && p.is(t, "INSERT") && s.kind == kindSelect:
			s.kind = kindOther // WITH … INSERT … SELECT: nothing to stream
		case p.depth == 0 && p.is(previous, "FORMAT") && t.kind == tokenWord && p.endsHere():
			s.format = string(p.text[t.start:t.end])
		}
		previous = t
	}
}

// endsHere tells whether the statement ends here or has only its settings left.
func (p *parser) endsHere() bool {
	ahead := lexer{text: p.text, at: p.at}
	t := ahead.next()
	return t.kind == tokenEnd || ahead.is(t, ";") || ahead.is(t, "SETTINGS")
}

// insert parses behind the word INSERT.
func (p *parser) insert() (*statement, error) {
	t := p.step()
	if p.is(t, "INTO") {
		t = p.step()
	}
	if p.is(t, "TABLE") {
		// Also a table may be called that.
		if ahead := (lexer{text: p.text, at: p.at}); !isTargetEnd(&ahead, ahead.next()) {
			t = p.step()
		}
	}
	if p.is(t, "FUNCTION") {
		p.step() // its name
		if err := p.skipGroup(p.step()); err != nil {
			return nil, err
		}
	} else {
		// [database.]table
		for {
			ahead := lexer{text: p.text, at: p.at}
			if !ahead.is(ahead.next(), ".") {
				break
			}
			p.step()
			p.step()
		}
	}
	targetEnd := p.at

	t = p.step()
	if p.is(t, "(") {
		ahead := lexer{text: p.text, at: p.at}
		if first := ahead.next(); !ahead.is(first, "SELECT") && !ahead.is(first, "WITH") && !ahead.is(first, "(") {
			if err := p.skipGroup(t); err != nil {
				return nil, err
			}
			targetEnd = p.at
			t = p.step()
		}
	}
	for ; ; t = p.step() {
		switch {
		case t.kind == tokenEnd, t.kind == tokenInvalid, p.is(t, ";"):
			// No data and no SELECT: the engine says what is missing.
			return &statement{kind: kindOther, text: p.text}, nil
		case p.depth > 1, p.depth == 1 && !p.is(t, "("):
			continue
		case p.is(t, "SELECT"), p.is(t, "WITH"), p.is(t, "("), p.is(t, "FROM"):
			if p.is(t, "FROM") {
				ahead := lexer{text: p.text, at: p.at}
				if ahead.is(ahead.next(), "INFILE") {
					return nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "FROM INFILE is not allowed over HTTP")
				}
			}
			if p.is(t, "(") {
				p.depth--
			}
			p.at = t.start
			return p.insertSelect()
		case p.is(t, "VALUES"):
			return &statement{
				kind: kindInsert, text: p.text[:t.start], format: "Values",
				data: p.text[t.end:], spool: splice{infile: true, at: targetEnd},
			}, nil
		case p.is(t, "FORMAT"):
			return p.insertFormat(t, splice{infile: true, at: targetEnd})
		}
	}
}

// insertSelect scans INSERT … SELECT; only one that reads input(…) has data.
func (p *parser) insertSelect() (*statement, error) {
	input := splice{at: -1}
	inputDepth := 0
	var previous, beforePrevious token
	for {
		t := p.step()
		switch {
		case t.kind == tokenEnd, t.kind == tokenInvalid:
			return &statement{kind: kindOther, text: p.text}, nil
		case p.is(t, ";"):
			if rest := p.next(); rest.kind != tokenEnd && !p.is(rest, ";") {
				return nil, errMultiStatement
			}
			return &statement{kind: kindOther, text: p.text[:t.start]}, nil
		case input.at < 0 && p.is(t, "(") && p.is(previous, "INPUT") && (p.is(beforePrevious, "FROM") || p.is(beforePrevious, "JOIN") || p.is(beforePrevious, ",")):
			input.at, input.open, inputDepth = previous.start, t.start, p.depth-1
		case input.at >= 0 && input.close == 0 && p.is(t, ")") && p.depth == inputDepth:
			input.close = t.start
		case input.close > 0 && p.depth == 0 && p.is(t, "FORMAT"):
			return p.insertFormat(t, input)
		}
		beforePrevious, previous = previous, t
	}
}

// insertFormat is an INSERT whose text ends at the word FORMAT: a format's name and
// data follow.
func (p *parser) insertFormat(word token, spool splice) (*statement, error) {
	name := p.step()
	if name.kind != tokenWord {
		return nil, errFormatName
	}
	data, err := p.dataBehind(name)
	if err != nil {
		return nil, err
	}
	return &statement{
		kind: kindInsert, text: p.text[:word.start], format: string(p.text[name.start:name.end]), data: data, spool: spool,
	}, nil
}

// dataBehind returns what follows an INSERT's format name, by ClickHouse's own
// rule: blanks go, and one line break if there is one.
func (p *parser) dataBehind(name token) ([]byte, error) {
	data := p.text[name.end:]
	if len(data) > 0 && data[0] == ';' {
		if len(bytes.TrimSpace(data[1:])) > 0 {
			return nil, exceptionf(codeSyntaxError, "SYNTAX_ERROR", "You have excessive ';' symbol before data for INSERT")
		}
		return nil, nil
	}
	data = bytes.TrimLeft(data, " \t\f")
	data = bytes.TrimPrefix(data, []byte("\r"))
	return bytes.TrimPrefix(data, []byte("\n")), nil
}

// skipGroup steps over a parenthesised group whose opening token is t.
func (p *parser) skipGroup(t token) error {
	if !p.is(t, "(") {
		return exceptionf(codeSyntaxError, "SYNTAX_ERROR", "Expected ( at position %d", t.start+1)
	}
	for depth := p.depth - 1; p.depth > depth; {
		if t := p.step(); t.kind == tokenEnd || t.kind == tokenInvalid {
			return exceptionf(codeSyntaxError, "SYNTAX_ERROR", "Unmatched parentheses: (")
		}
	}
	return nil
}

// isTargetEnd tells whether t can follow an INSERT's target.
func isTargetEnd(l *lexer, t token) bool {
	for _, word := range []string{"(", ".", "FORMAT", "VALUES", "SELECT", "WITH", "SETTINGS"} {
		if l.is(t, word) {
			return true
		}
	}
	return t.kind == tokenEnd
}

var stringQuoter = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// quoteString returns s as a ClickHouse string literal.
func quoteString(s string) string { return "'" + stringQuoter.Replace(s) + "'" }

var identifierQuoter = strings.NewReplacer(`\`, `\\`, "`", "\\`")

// quoteIdentifier returns s as a ClickHouse identifier.
func quoteIdentifier(s string) string { return "`" + identifierQuoter.Replace(s) + "`" }
