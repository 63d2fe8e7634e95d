//! Text to words: where each stands, and whether it was quoted.

use super::super::escape;
use super::{Mistake, Place};

/// A piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub at: Place,
    pub what: What,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Up to the next space: a word of the language, a key, a number.
    Bare(Vec<u8>),
    /// Between quotes: a key or a value.
    Quoted(Vec<u8>),
    /// The end of a line, or `;`.
    Stop,
    /// The end of the text.
    End,
}

/// Takes a text apart. The last token is [`What::End`], and the only one.
pub(super) fn tokens(text: &[u8]) -> Result<Vec<Token>, Mistake> {
    let mut reader = Reader { rest: text, at: Place { line: 1, column: 1 } };
    let mut tokens = Vec::new();
    loop {
        let token = reader.token()?;
        let is_end = token.what == What::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    at: Place,
}

impl Reader<'_> {
    fn token(&mut self) -> Result<Token, Mistake> {
        self.skip_blank();
        let at = self.at;
        let what = match self.rest.first() {
            None => What::End,
            Some(b'\n' | b';') => {
                self.step();
                What::Stop
            }
            Some(quote @ (b'"' | b'\'')) => self.quoted(*quote)?,
            Some(_) => self.bare()?,
        };
        Ok(Token { at, what })
    }

    fn skip_blank(&mut self) {
        while let Some(&byte) = self.rest.first() {
            match byte {
                b' ' | b'\t' | b'\r' => self.step(),
                b'#' => {
                    let length = self.rest.iter().position(|byte| *byte == b'\n');
                    (0..length.unwrap_or(self.rest.len())).for_each(|_| self.step());
                }
                _ => return,
            }
        }
    }

    fn bare(&mut self) -> Result<What, Mistake> {
        let mut word = Vec::new();
        while let Some(&byte) = self.rest.first() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' => break,
                b'"' | b'\'' => {
                    let text =
                        "a quote inside of a word: quote all of it, and put spaces around what is compared";
                    return Err(self.at.mistake(text));
                }
                byte => word.push(byte),
            }
            self.step();
        }
        Ok(What::Bare(word))
    }

    fn quoted(&mut self, quote: u8) -> Result<What, Mistake> {
        let begin = self.at;
        self.step();
        let mut bytes = Vec::new();
        loop {
            match self.rest.first() {
                None | Some(b'\n') => {
                    return Err(begin.mistake("this quote is not closed on its line: a newline is \\n"));
                }
                Some(byte) if *byte == quote => break,
                Some(b'\\') if quote == b'"' => {
                    let (byte, length) =
                        escape::one(&self.rest[1..]).map_err(|text| self.at.mistake(text))?;
                    bytes.push(byte);
                    (0..=length).for_each(|_| self.step());
                }
                Some(byte) => {
                    bytes.push(*byte);
                    self.step();
                }
            }
        }
        self.step();
        match self.rest.first() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';') => Ok(What::Quoted(bytes)),
            Some(_) => Err(self.at.mistake("a space is missing behind the quote")),
        }
    }

    /// Goes on by a byte. A character of several bytes is one column.
    fn step(&mut self) {
        let Some((&byte, rest)) = self.rest.split_first() else { return };
        self.rest = rest;
        if byte == b'\n' {
            self.at = Place { line: self.at.line + 1, column: 1 };
        } else if rest.first().is_none_or(|next| next & 0b1100_0000 != 0b1000_0000) {
            self.at.column += 1;
        }
    }
}
