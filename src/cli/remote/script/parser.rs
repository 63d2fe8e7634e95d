//! Words to a transaction, by recursive descent: a function for each rule of the grammar in the module's text.

use super::super::escape::escape;
use super::tokens::{Token, What, tokens};
use super::{Mistake, Place, Script};
use crate::client::{Compare, Keys, OrderBy, Relation, Select, TxnOp};

/// Transactions in transactions. A server allows fewer; this is so that no text overflows the stack.
const DEPTH_MAX: usize = 32;

/// Reads a transaction.
pub(in super::super) fn parse(text: &[u8]) -> Result<Script, Mistake> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0 };
    parser.skip_stops();
    let script = if parser.takes("if") {
        let script = parser.branch(1)?;
        parser.skip_stops();
        parser.takes("end");
        script
    } else {
        parser.takes("then");
        Script { success: parser.operations(1)?, ..Script::default() }
    };
    parser.skip_stops();
    let token = parser.peek();
    if token.what != What::End {
        let text = format!("here the transaction should end, and there is {}", name(token));
        return Err(token.at.mistake(text));
    }
    if script.success.is_empty() && script.failure.is_empty() {
        return Err(token.at.mistake("there is nothing to do: give an operation, such as get KEY"));
    }
    Ok(script)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    /// The token that comes. The last one comes for ever.
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn is_next(&self, word: &str) -> bool {
        matches!(&self.peek().what, What::Bare(bare) if bare == word.as_bytes())
    }

    /// Takes a word of the language, if it is the next.
    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.is_next(word);
        if is_next {
            self.next += 1;
        }
        is_next
    }

    fn skip_stops(&mut self) {
        while self.peek().what == What::Stop {
            self.next += 1;
        }
    }

    /// What is between "if" and "end".
    fn branch(&mut self, depth: usize) -> Result<Script, Mistake> {
        let mut script = Script::default();
        loop {
            script.compares.push(self.comparison()?);
            let is_joined = self.takes("and");
            self.skip_stops();
            let is_over = ["then", "else", "end"].iter().any(|word| self.is_next(word))
                || self.peek().what == What::End;
            if !is_joined && is_over {
                break;
            }
        }
        if self.takes("then") {
            script.success = self.operations(depth)?;
        }
        if self.takes("else") {
            script.failure = self.operations(depth)?;
        }
        Ok(script)
    }

    fn comparison(&mut self) -> Result<Compare, Mistake> {
        self.skip_stops();
        let token = self.take();
        let property: fn(Keys) -> crate::client::NumberOf = match word(&token) {
            Some("exists") => return Ok(Compare::exists(self.keys()?)),
            Some("absent") => return Ok(Compare::absent(self.keys()?)),
            Some("value") => {
                let compared = Compare::value(self.keys()?);
                let relation = self.relation()?;
                return Ok(compared.is(relation, self.operand("the value to compare with")?));
            }
            Some("version") => Compare::version,
            Some("revision") => Compare::mod_revision,
            Some("created") => Compare::create_revision,
            Some("lease") => Compare::lease,
            _ => {
                let known = "value, version, revision, created, lease, exists or absent";
                return Err(token
                    .at
                    .mistake(format!("a comparison begins with {known}, not with {}", name(&token))));
            }
        };
        let compared = property(self.keys()?);
        let relation = self.relation()?;
        Ok(compared.is(relation, self.number()?))
    }

    fn relation(&mut self) -> Result<Relation, Mistake> {
        let token = self.take();
        match word(&token) {
            Some("=") => Ok(Relation::Equal),
            Some("!=") => Ok(Relation::NotEqual),
            Some(">") => Ok(Relation::Greater),
            Some("<") => Ok(Relation::Less),
            _ => Err(token.at.mistake(format!("here = != > or < is needed, and there is {}", name(&token)))),
        }
    }

    /// Operations up to a word that none begins with.
    fn operations(&mut self, depth: usize) -> Result<Vec<TxnOp>, Mistake> {
        let mut ops = Vec::new();
        loop {
            self.skip_stops();
            if self.peek().what == What::End || self.is_next("else") || self.is_next("end") {
                return Ok(ops);
            }
            ops.push(self.operation(depth)?);
            let token = self.peek();
            let is_over =
                matches!(token.what, What::Stop | What::End) || self.is_next("else") || self.is_next("end");
            if !is_over {
                let text = format!("an operation ends with its line or with ; and here is {}", name(token));
                return Err(token.at.mistake(text));
            }
        }
    }

    fn operation(&mut self, depth: usize) -> Result<TxnOp, Mistake> {
        let token = self.take();
        match word(&token) {
            Some("put") => {
                let (key, value) = (self.key()?, self.operand("the value")?);
                Ok(self.maybe_previous(TxnOp::put(key, value)))
            }
            Some("touch") => {
                let key = self.key()?;
                Ok(self.maybe_previous(TxnOp::touch(key)))
            }
            Some("del") => {
                let keys = self.keys()?;
                Ok(self.maybe_previous(TxnOp::delete(keys)))
            }
            Some("get") => self.select(),
            Some("if") => self.inner(token.at, depth + 1),
            _ => {
                let known = "get, put, del, touch or if";
                Err(token.at.mistake(format!("an operation begins with {known}, not with {}", name(&token))))
            }
        }
    }

    /// A transaction in the transaction.
    fn inner(&mut self, at: Place, depth: usize) -> Result<TxnOp, Mistake> {
        if depth > DEPTH_MAX {
            return Err(at.mistake(format!("transactions lie in each other more than {DEPTH_MAX} deep")));
        }
        let script = self.branch(depth)?;
        if !self.takes("end") {
            return Err(at.mistake("this if inside of a transaction needs an end"));
        }
        Ok(script.into())
    }

    fn maybe_previous(&mut self, op: TxnOp) -> TxnOp {
        if self.takes("previous") { op.previous() } else { op }
    }

    fn select(&mut self) -> Result<TxnOp, Mistake> {
        let mut select = Select::keys(self.keys()?);
        loop {
            select = if self.takes("limit") {
                select.limit(self.number()?)
            } else if self.takes("by") {
                select.order_by(self.order()?)
            } else if self.takes("desc") {
                select.descending()
            } else if self.takes("keys") {
                select.keys_only()
            } else if self.takes("count") {
                select.count_only()
            } else {
                return Ok(select.into());
            };
        }
    }

    fn order(&mut self) -> Result<OrderBy, Mistake> {
        let token = self.take();
        match word(&token) {
            Some("key") => Ok(OrderBy::Key),
            Some("version") => Ok(OrderBy::Version),
            Some("revision") => Ok(OrderBy::ModRevision),
            Some("created") => Ok(OrderBy::CreateRevision),
            Some("value") => Ok(OrderBy::Value),
            _ => {
                let known = "key, version, revision, created or value";
                Err(token.at.mistake(format!("the order is by {known}, not by {}", name(&token))))
            }
        }
    }

    fn keys(&mut self) -> Result<Keys, Mistake> {
        if self.takes("prefix") {
            return Ok(Keys::prefix(self.operand("the prefix")?));
        }
        if self.takes("range") {
            let from = self.operand("where the range begins")?;
            return Ok(Keys::range(from, self.operand("where the range ends")?));
        }
        Ok(Keys::one(self.key()?))
    }

    fn key(&mut self) -> Result<Vec<u8>, Mistake> {
        let at = self.peek().at;
        let key = self.operand("the key")?;
        if key.is_empty() {
            return Err(at.mistake("the key is empty: give one of at least one byte"));
        }
        Ok(key)
    }

    /// A key or a value. A word that ends a part of a transaction is none: then one was forgotten.
    fn operand(&mut self, what: &str) -> Result<Vec<u8>, Mistake> {
        let token = self.take();
        match &token.what {
            What::Quoted(bytes) => Ok(bytes.clone()),
            What::Bare(bytes) if !["then", "else", "end"].iter().any(|word| bytes == word.as_bytes()) => {
                Ok(bytes.clone())
            }
            _ => Err(token.at.mistake(format!("{what} is missing: here is {}", name(&token)))),
        }
    }

    fn number(&mut self) -> Result<u64, Mistake> {
        let token = self.take();
        let number = word(&token).and_then(|word| word.parse().ok());
        number.ok_or_else(|| {
            token.at.mistake(format!("here a number is needed, and there is {}", name(&token)))
        })
    }
}

/// A bare word, if it is text.
fn word(token: &Token) -> Option<&str> {
    match &token.what {
        What::Bare(bytes) => std::str::from_utf8(bytes).ok(),
        What::Quoted(_) | What::Stop | What::End => None,
    }
}

/// What a token is called where it should not be.
fn name(token: &Token) -> String {
    match &token.what {
        What::Bare(bytes) => escape(bytes),
        What::Quoted(bytes) => format!("\"{}\"", escape(bytes)),
        What::Stop => "the end of the line".to_owned(),
        What::End => "the end".to_owned(),
    }
}
