//! The depth of a query's syntax tree, estimated from its tokens.
//!
//! Planning, printing and even freeing the tree are recursive, so a tree that is too deep would
//! overflow the stack and end the program without a message. The tokens are counted before the tree
//! exists.

use std::{panic, thread};

use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};

/// Deepest query that is read.
pub const DEPTH_MAX: usize = 2_000;

/// Stack for work on a tree of that depth, in bytes. A level takes up to 130 KB of it while
/// DataFusion plans (measured with 1,000 chained CTEs that join). What is not used takes no memory.
const LARGE_STACK: usize = 1 << 30;

/// Levels that a `select`, a join or a pipe step counts as, since its plan is several nodes deep.
const SELECT_LEVELS: usize = 4;

/// Runs work on a thread whose stack is large enough for queries of [`DEPTH_MAX`].
///
/// # Errors
///
/// If the system cannot start such a thread.
pub fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(LARGE_STACK).spawn_scoped(scope, work)?;
        Ok(worker.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
    })
}

/// At least the depth of the query's tree: nested brackets, operators in a chain, set operations
/// in a chain, joins, and CTEs, of which each may read the one before.
///
/// 0 if the text cannot be split into tokens; parsing it reports why.
pub fn depth(text: &str) -> usize {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().unwrap_or_default();
    let mut walk = Walk { open: vec![Level::default()], may_start_cte: false };
    for token in tokens {
        if !matches!(token, Token::Whitespace(_)) {
            walk.step(&token);
        }
    }
    while walk.open.len() > 1 {
        walk.close();
    }
    walk.open[0].depth()
}

/// The tokens up to one of them.
struct Walk {
    /// Levels that are not closed yet; the outermost never is
    open: Vec<Level>,
    /// Whether the last token was one that a CTE's query follows
    may_start_cte: bool,
}

impl Walk {
    fn step(&mut self, token: &Token) {
        let is_after_as = std::mem::take(&mut self.may_start_cte);
        let level = self.open.last_mut().expect("the outermost level is never closed");
        match token {
            Token::LParen | Token::LBrace => {
                let of = if is_after_as && level.has_with { Of::Cte } else { Of::Brackets };
                self.open.push(Level { of, ..Level::default() });
            }
            Token::LBracket => {
                level.chain(Binding::Tightest); // of `a[1][1]` the first access is inside the second
                self.open.push(Level::default());
            }
            Token::RParen | Token::RBrace | Token::RBracket => self.close(),
            Token::Comma if level.is_from => level.next_step(SELECT_LEVELS), // a cross join
            Token::Comma | Token::SemiColon => level.end_chain(),
            Token::VerticalBarRightAngleBracket => level.next_step(SELECT_LEVELS),
            Token::Word(word) if word.quote_style.is_none() => {
                self.keyword(word.keyword, is_after_as);
            }
            Token::Eq
            | Token::DoubleEq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq => level.chain(Binding::Predicate),
            Token::Plus | Token::Minus | Token::StringConcat => level.chain(Binding::Sum),
            Token::Word(_)
            | Token::Number(..)
            | Token::Placeholder(_)
            | Token::Period
            | Token::SingleQuotedString(_) => {}
            // All others are operators, or rare.
            _ => level.chain(Binding::Tightest),
        }
    }

    fn keyword(&mut self, keyword: Keyword, is_after_as: bool) {
        let level = self.open.last_mut().expect("the outermost level is never closed");
        match keyword {
            Keyword::CASE => self.open.push(Level { of: Of::Case, ..Level::default() }),
            Keyword::END if level.of == Of::Case => self.close(),
            Keyword::WHEN => level.next_step(1),
            Keyword::WITH => level.has_with = true,
            // Materialized or not, a CTE.
            Keyword::AS | Keyword::MATERIALIZED => self.may_start_cte = true,
            Keyword::NOT => {
                level.chain(Binding::Predicate);
                self.may_start_cte = is_after_as;
            }
            Keyword::SELECT => {
                (level.is_query, level.is_from) = (true, false);
                level.next_step(SELECT_LEVELS);
            }
            Keyword::JOIN | Keyword::APPLY => level.next_step(SELECT_LEVELS),
            // A plan node for each window.
            Keyword::OVER => level.nodes += 1,
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => {
                level.end_set_operand();
            }
            Keyword::FROM => {
                level.is_from = true;
                level.end_chain();
            }
            Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::WINDOW
            | Keyword::QUALIFY
            | Keyword::LIMIT => {
                level.is_from = false;
                level.end_chain();
            }
            Keyword::ON | Keyword::THEN | Keyword::ELSE => level.end_chain(),
            Keyword::AND | Keyword::OR | Keyword::XOR => level.chain(Binding::Logical),
            Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN => level.chain(Binding::Predicate),
            Keyword::DIV | Keyword::COLLATE | Keyword::AT => level.chain(Binding::Tightest),
            _ => {}
        }
    }

    /// Ends the innermost level; the outermost stays, whatever is closed.
    fn close(&mut self) {
        if self.open.len() < 2 {
            return;
        }
        let mut inner = self.open.pop().expect("there are two");
        let outer = self.open.last_mut().expect("there were two");
        if inner.of == Of::Cte {
            outer.ctes += inner.depth();
            return;
        }
        // What is in brackets of an expression is planned with the query around it.
        outer.nodes += if inner.is_query { 1 } else { std::mem::take(&mut inner.nodes) };
        outer.deepest_inner = outer.deepest_inner.max(inner.depth());
    }
}

/// How tightly operators bind. The looser one is the outer one: it ends the chains of those that
/// bind tighter, so `a = 1 and b = 2 and c = 3` has a chain of two and one of one.
#[derive(Clone, Copy)]
enum Binding {
    Logical,
    Predicate,
    Sum,
    Tightest,
}

/// What a level is inside of.
#[derive(Clone, Copy, Default, PartialEq)]
enum Of {
    #[default]
    Brackets,
    /// Of `case … end`
    Case,
    Cte,
}

/// The query between two brackets, or between `case` and `end`.
#[derive(Default)]
struct Level {
    of: Of,
    has_with: bool,
    is_query: bool,
    /// Whether a comma joins tables
    is_from: bool,
    /// Operators of each [`Binding`] since the last comma, clause or looser operator
    chains: [usize; 4],
    longest_chains: [usize; 4],
    /// `select`s, joins and arms of a `case`, of this operand of a set operation
    steps: usize,
    most_steps: usize,
    set_operations: usize,
    /// Windows and subqueries of a query's expressions: its plan has a node for each, one on another
    nodes: usize,
    /// All CTEs, one on another
    ctes: usize,
    deepest_inner: usize,
}

impl Level {
    fn chain(&mut self, binding: Binding) {
        let place = binding as usize;
        self.chains[place] += 1;
        self.longest_chains[place] = self.longest_chains[place].max(self.chains[place]);
        self.chains[place + 1..].fill(0);
    }

    fn end_chain(&mut self) {
        self.chains = [0; 4];
    }

    fn next_step(&mut self, levels: usize) {
        self.end_chain();
        self.steps += levels;
        self.most_steps = self.most_steps.max(self.steps);
    }

    fn end_set_operand(&mut self) {
        self.end_chain();
        self.steps = 0;
        self.set_operations += 1;
    }

    fn depth(&self) -> usize {
        1 + self.longest_chains.iter().sum::<usize>()
            + self.most_steps
            + self.set_operations
            + SELECT_LEVELS * self.nodes
            + self.ctes
            + self.deepest_inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chained(n: usize, term: &str, operator: &str) -> String {
        let terms = vec![term; n].join(operator);
        format!("select user_id from users where {terms}")
    }

    #[test]
    fn a_chain_is_as_deep_as_it_has_operators() {
        for operator in [" and ", " or ", " + ", " || ", " = "] {
            let [short, long] = [10, 110].map(|n| depth(&chained(n, "user_id", operator)));
            assert_eq!(long - short, 100, "{operator}");
        }
        for (start, link) in [("user_id", "::bigint"), ("user_id", "[1]"), ("", "- ")] {
            let text = |n| format!("select {start}{}", link.repeat(n));
            assert!(depth(&text(110)) - depth(&text(10)) >= 100, "{link}");
        }
    }

    #[test]
    fn terms_of_a_chain_do_not_add_up() {
        let terms = |n| depth(&chained(n, "user_id * 2 + 1 > -7 * 3", " and "));
        assert_eq!(terms(110) - terms(10), 100);
    }

    #[test]
    fn a_list_is_flat_however_long() {
        let list =
            |n| format!("select 1 from users where user_id in ({})", vec!["7"; n].join(", "));
        assert_eq!(depth(&list(10)), depth(&list(10_000)));
        let columns = |n: usize| format!("select {} from users", vec!["a + b"; n].join(", "));
        assert_eq!(depth(&columns(2)), depth(&columns(500)));
    }

    #[test]
    fn nested_levels_add_up() {
        let brackets = |n| format!("select {}1{}", "(".repeat(n), ")".repeat(n));
        assert_eq!(depth(&brackets(40)) - depth(&brackets(10)), 30);
        let cte = |i: usize| format!("c{} as (select * from c{i})", i + 1);
        let ctes = |n| format!("with {} select 1", (0..n).map(cte).collect::<Vec<_>>().join(", "));
        assert!(depth(&ctes(110)) - depth(&ctes(10)) >= 100 * SELECT_LEVELS);
        let unions = |n| vec!["select 1 from users"; n].join(" union all ");
        assert_eq!(depth(&unions(110)) - depth(&unions(10)), 100);
        let arms = |n| format!("select case {} end", "when a then b ".repeat(n));
        assert_eq!(depth(&arms(110)) - depth(&arms(10)), 100);
        let joins = |n| format!("select 1 from users {}", "cross join users ".repeat(n));
        assert_eq!(depth(&joins(110)) - depth(&joins(10)), 100 * SELECT_LEVELS);
    }

    /// The plan has a node for each, one above the other.
    #[test]
    fn windows_subqueries_and_tables_behind_commas_are_counted_wherever_they_are() {
        for term in [
            "sum(a) over (order by a)",
            "coalesce(abs(sum(a) over (order by a)), 0)",
            "(select max(a) from users)",
            "abs((select max(a) from users))",
        ] {
            let columns = |n| format!("select {} from users", vec![term; n].join(", "));
            assert!(depth(&columns(110)) - depth(&columns(10)) >= 100 * SELECT_LEVELS, "{term}");
        }
        let tables = |n| format!("select a, b from {} where a", vec!["users"; n].join(", "));
        assert_eq!(depth(&tables(110)) - depth(&tables(10)), 100 * SELECT_LEVELS);
        let ordered = |n| format!("select 1 from users order by {}", vec!["a"; n].join(", "));
        assert_eq!(depth(&ordered(110)), depth(&ordered(10)));
    }

    #[test]
    fn texts_comments_and_names_do_not_count() {
        let plain = depth("select 1 from users");
        let text = "select '1 and 2 and (((' from users -- and and ((( and";
        assert_eq!(depth(text), plain);
        assert_eq!(depth("select \"and and\" from users"), plain);
    }

    #[test]
    fn unbalanced_brackets_have_a_depth() {
        assert!(depth(")))((( end end case") > 0);
        assert_eq!(depth("select '"), depth(""));
    }
}
