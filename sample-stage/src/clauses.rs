//! Clauses that the SQL parser accepts and DataFusion silently ignores.
//!
//! The parser knows many dialects, and DataFusion plans the parts of a statement that it knows: it
//! reads `from users tablesample (10)` as `from users`. Every struct of the syntax tree is
//! destructured here without `..`, so that a parser version with a new clause does not compile
//! until someone has checked it.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, Cte, DataType, Expr, Function, FunctionArg, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint,
    JoinOperator, LimitClause, NamedWindowExpr, ObjectName, OrderBy, OrderByExpr, OrderByKind,
    OrderByOptions, PipeOperator, Query, Select, SelectFlavor, SelectItem, SetExpr, SetOperator,
    SetQuantifier, Spanned, TableAlias, TableAliasColumnDef, TableFactor, TableFunctionArgs,
    TableSample, TableSampleKind, TableWithJoins, Visit as _, Visitor, WildcardAdditionalOptions,
    WindowSpec, WindowType, With,
};
use datafusion::sql::sqlparser::tokenizer::Span;

/// Longest text of a clause that a message shows, in characters.
const SHOWN_MAX: usize = 60;

const DRAW: &str = "draw rows with `where draw(user_id, $seed, 0) < 0.1`";
const LEAVE_OUT: &str = "leave it out";
const LIMIT: &str = "write `limit`";
const TRUNCATE: &str = "cut the text with `left(text, length)`";

/// A clause that would be ignored.
#[derive(Debug)]
pub struct Ignored {
    /// Its place, or that of the nearest part of the query whose place is known; empty if none is
    pub span: Span,
    /// The error
    pub message: String,
}

/// Checks a query and all that is nested in it.
///
/// # Errors
///
/// The first clause that DataFusion would ignore.
pub fn check(query: &Query, state: &SessionState) -> Result<(), Ignored> {
    match query.visit(&mut Check { state }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(ignored) => Err(ignored),
    }
}

type Checked = ControlFlow<Ignored>;

/// Refuses a clause, if there is one.
fn none<T: Display>(clause: Option<T>, instead: &str, at: impl Fn() -> Span) -> Checked {
    clause.map_or(ControlFlow::Continue(()), |clause| {
        let clause = clause.to_string();
        let text = clause.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        };
        let message = format!("`{shown}` is not supported in queries\nhint: {instead}");
        ControlFlow::Break(Ignored { span: at(), message })
    })
}

/// Refuses a clause by its name.
fn no(is_there: bool, clause: &str, instead: &str, at: impl Fn() -> Span) -> Checked {
    none(is_there.then_some(clause), instead, at)
}

struct Check<'a> {
    state: &'a SessionState,
}

impl Visitor for Check<'_> {
    type Break = Ignored;

    fn pre_visit_query(&mut self, query: &Query) -> Checked {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let at = || query.span();
        if let Some(with) = with {
            check_with(with)?;
        }
        if let Some(order_by) = order_by {
            check_order_by(order_by, body, at)?;
        }
        if let Some(LimitClause::LimitOffset { limit: _, offset: _, limit_by }) = limit_clause {
            let rank = "number the rows of each group with `row_number() over (partition by …)`";
            none(limit_by.first().map(|expr| format!("limit … by {expr}")), rank, at)?;
        }
        none(fetch.as_ref(), LIMIT, at)?;
        none(locks.first(), LEAVE_OUT, at)?;
        none(for_clause.as_ref(), LEAVE_OUT, at)?;
        let settings = settings.iter().flatten().next();
        none(settings.map(|setting| format!("settings {setting}")), LEAVE_OUT, at)?;
        none(format_clause.as_ref(), LEAVE_OUT, at)?;
        pipe_operators.iter().try_for_each(|operator| check_pipe(operator, at))
    }

    fn pre_visit_select(&mut self, select: &Select) -> Checked {
        check_select(select)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> Checked {
        check_table(table)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Checked {
        match expr {
            Expr::Function(function) => check_function(function, self.state),
            Expr::Cast { data_type, .. } => check_type(data_type, || expr.span()),
            Expr::TypedString(text) => check_type(&text.data_type, || expr.span()),
            Expr::Trim { trim_characters: Some(characters), .. } => {
                let instead = "write all characters in one text: `trim(text, 'ab')`";
                none(characters.get(1).map(|_| expr), instead, || expr.span())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn check_with(with: &With) -> Checked {
    let With { with_token: _, recursive, cte_tables } = with;
    for cte in cte_tables {
        let Cte { alias, query, from, materialized, closing_paren_token: _ } = cte;
        let at = || cte.span();
        check_alias(alias, at)?;
        none(from.as_ref().map(|from| format!("from {from}")), LEAVE_OUT, at)?;
        none(materialized.as_ref(), LEAVE_OUT, at)?;
        if *recursive {
            check_recursive(query, at)?;
        }
    }
    ControlFlow::Continue(())
}

/// Of a recursive query DataFusion reads the two sides of its `union` and nothing around them.
fn check_recursive(query: &Query, at: impl Fn() -> Span + Copy) -> Checked {
    let SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, .. } = &*query.body else {
        return ControlFlow::Continue(());
    };
    let outside = "write it in the query that reads the recursive one";
    no(query.with.is_some(), "with … in a recursive query", "write it before that query", at)?;
    no(query.order_by.is_some(), "order by … of a recursive query", outside, at)?;
    no(query.limit_clause.is_some(), "limit … of a recursive query", outside, at)?;
    no(!query.pipe_operators.is_empty(), "|> … of a recursive query", outside, at)?;
    let is_by_name = match set_quantifier {
        SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => true,
        SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None => false,
    };
    let in_order = "write `union all`, with the columns of both sides in one order";
    no(is_by_name, "union by name in a recursive query", in_order, at)
}

fn check_order_by(order_by: &OrderBy, body: &SetExpr, at: impl Fn() -> Span) -> Checked {
    let OrderBy { kind, interpolate } = order_by;
    no(interpolate.is_some(), "interpolate", LEAVE_OUT, &at)?;
    match kind {
        OrderByKind::All(_) => {
            no(!matches!(body, SetExpr::Select(_)), "order by all", "name the columns", at)
        }
        OrderByKind::Expressions(exprs) => exprs.iter().try_for_each(check_order_by_expr),
    }
}

fn check_order_by_expr(order_by: &OrderByExpr) -> Checked {
    let OrderByExpr { expr: _, options: _, with_fill } = order_by;
    none(with_fill.as_ref(), LEAVE_OUT, || order_by.span())
}

fn check_pipe(operator: &PipeOperator, at: impl Fn() -> Span) -> Checked {
    match operator {
        PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
            let exprs = full_table_exprs.iter().chain(group_by_expr);
            let mut ordered = exprs.filter(|expr| expr.order_by != OrderByOptions::default());
            none(ordered.next(), "order the rows with `|> order by`", at)
        }
        PipeOperator::Join(join) => check_join(join),
        PipeOperator::TableSample { .. } => none(Some(operator), DRAW, at),
        // Other operators that DataFusion does not know it refuses itself.
        _ => ControlFlow::Continue(()),
    }
}

fn check_select(select: &Select) -> Checked {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection,
        exclude,
        into,
        from,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        cluster_by,
        distribute_by: _,
        sort_by,
        having: _,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    let at = || select.span();
    none(optimizer_hints.first(), LEAVE_OUT, at)?;
    none(select_modifiers.as_ref(), LEAVE_OUT, at)?;
    none(top.as_ref(), "write `limit` at the end of the query", at)?;
    none(exclude.as_ref(), "write it right after the star: `* exclude (…)`", at)?;
    none(into.as_ref(), "return the rows; the stage writes them", at)?;
    none(lateral_views.first(), "write `unnest(…)`", at)?;
    none(prewhere.as_ref().map(|expr| format!("prewhere {expr}")), "write `where`", at)?;
    none(connect_by.first(), "write `with recursive`", at)?;
    let sorted = "write `order by` at the end of the query";
    none(cluster_by.first().map(|expr| format!("cluster by {expr}")), sorted, at)?;
    none(sort_by.first().map(|expr| format!("sort by {expr}")), sorted, at)?;
    none(value_table_mode.as_ref(), "name the columns", at)?;
    let is_without_columns = *flavor == SelectFlavor::FromFirstNoSelect;
    no(is_without_columns, "from … without select", "name the columns with `select`", at)?;
    for item in projection {
        check_item(item)?;
    }
    let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
    let sets = "write `group by rollup (…)`, `cube (…)` or `grouping sets (…)`";
    none(modifiers.first(), sets, at)?;
    for window in named_window {
        if let NamedWindowExpr::WindowSpec(spec) = &window.1 {
            check_window(spec, || window.span())?;
        }
    }
    if let Some(qualify) = qualify {
        check_named_windows(qualify)?;
    }
    from.iter().try_for_each(check_joins)
}

fn check_item(item: &SelectItem) -> Checked {
    let options = match item {
        SelectItem::QualifiedWildcard(_, options) | SelectItem::Wildcard(options) => options,
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => {
            return ControlFlow::Continue(());
        }
        SelectItem::ExprWithAliases { .. } => {
            return none(Some(item), "give one name, `… as name`", || item.span());
        }
    };
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: _,
        opt_exclude: _,
        opt_except: _,
        opt_replace: _,
        opt_rename,
        opt_alias,
    } = options;
    let names = "name the columns: `select user_id as …`";
    none(opt_rename.as_ref(), names, || item.span())?;
    none(opt_alias.as_ref().map(|alias| format!("* as {alias}")), names, || item.span())
}

/// DataFusion looks for `over name` among the columns of `select` only; elsewhere it would read
/// `sum(events) over w` as `sum(events)`.
fn check_named_windows(expr: &Expr) -> Checked {
    struct Find;
    impl Visitor for Find {
        type Break = Ignored;

        fn pre_visit_expr(&mut self, expr: &Expr) -> Checked {
            let Expr::Function(Function { over: Some(WindowType::NamedWindow(name)), .. }) = expr
            else {
                return ControlFlow::Continue(());
            };
            let instead = "write the window here: `over (partition by … order by …)`";
            none(Some(format!("over {name}")), instead, || name.span)
        }
    }
    expr.visit(&mut Find)
}

fn check_joins(table: &TableWithJoins) -> Checked {
    let TableWithJoins { relation: _, joins } = table;
    joins.iter().try_for_each(check_join)
}

fn check_join(join: &Join) -> Checked {
    let Join { relation: _, global, join_operator } = join;
    let at = || join.span();
    no(*global, "global join", "write `join`", at)?;
    match join_operator {
        JoinOperator::Join(_)
        | JoinOperator::Inner(_)
        | JoinOperator::Left(_)
        | JoinOperator::LeftOuter(_)
        | JoinOperator::Right(_)
        | JoinOperator::RightOuter(_)
        | JoinOperator::FullOuter(_)
        | JoinOperator::LeftSemi(_)
        | JoinOperator::RightSemi(_)
        | JoinOperator::LeftAnti(_)
        | JoinOperator::RightAnti(_)
        | JoinOperator::CrossJoin(JoinConstraint::None) => ControlFlow::Continue(()),
        JoinOperator::CrossJoin(_) => no(true, "cross join … on", "write `inner join … on`", at),
        JoinOperator::Semi(_) => no(true, "semi join", "write `left semi join`", at),
        JoinOperator::Anti(_) => no(true, "anti join", "write `left anti join`", at),
        JoinOperator::StraightJoin(_) => no(true, "straight_join", "write `inner join`", at),
        JoinOperator::CrossApply | JoinOperator::OuterApply => {
            no(true, "apply", "write `cross join lateral (…)`", at)
        }
        JoinOperator::AsOf { .. } => {
            no(true, "asof join", "number the rows with `row_number() over (…)` and join", at)
        }
        JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin => {
            no(true, "array join", "write `unnest(…)`", at)
        }
    }
}

fn check_table(table: &TableFactor) -> Checked {
    let at = || table.span();
    let ordinality = "number the rows with `row_number() over (…)`";
    let alias = match table {
        TableFactor::Table {
            name: _,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            if let Some(TableFunctionArgs { args: _, settings }) = args {
                let settings = settings.iter().flatten().next();
                none(settings.map(|setting| format!("settings {setting}")), LEAVE_OUT, at)?;
            }
            none(with_hints.first().map(|hint| format!("with ({hint})")), LEAVE_OUT, at)?;
            none(version.as_ref(), LEAVE_OUT, at)?;
            no(*with_ordinality, "with ordinality", ordinality, at)?;
            let partition = partitions.first().map(|name| format!("partition ({name})"));
            none(partition, "choose the rows with `where`", at)?;
            none(json_path.as_ref(), "name the columns", at)?;
            none(sample.as_ref().map(written_sample), DRAW, at)?;
            none(index_hints.first(), LEAVE_OUT, at)?;
            alias
        }
        TableFactor::Derived { lateral: _, subquery: _, alias, sample } => {
            none(sample.as_ref().map(written_sample), DRAW, at)?;
            alias
        }
        TableFactor::Function { lateral: _, name: _, args, with_ordinality, alias } => {
            no(*with_ordinality, "with ordinality", ordinality, at)?;
            let named = args.iter().find(|arg| !matches!(arg, FunctionArg::Unnamed(_)));
            none(named, "give the arguments in order, without names", at)?;
            alias
        }
        TableFactor::UNNEST {
            alias,
            array_exprs: _,
            with_offset,
            with_offset_alias: _,
            with_ordinality,
        } => {
            no(*with_offset, "with offset", ordinality, at)?;
            no(*with_ordinality, "with ordinality", ordinality, at)?;
            alias
        }
        TableFactor::NestedJoin { table_with_joins, alias } => {
            check_joins(table_with_joins)?;
            alias
        }
        other @ (TableFactor::TableFunction { .. }
        | TableFactor::JsonTable { .. }
        | TableFactor::OpenJsonTable { .. }
        | TableFactor::Pivot { .. }
        | TableFactor::Unpivot { .. }
        | TableFactor::MatchRecognize { .. }
        | TableFactor::XmlTable { .. }
        | TableFactor::SemanticView { .. }) => {
            return none(Some(other), "write it as a `select`", at);
        }
    };
    alias.as_ref().map_or(ControlFlow::Continue(()), |alias| check_alias(alias, at))
}

fn written_sample(kind: &TableSampleKind) -> &TableSample {
    let (TableSampleKind::AfterTableAlias(sample) | TableSampleKind::BeforeTableAlias(sample)) =
        kind;
    sample
}

fn check_alias(alias: &TableAlias, at: impl Fn() -> Span + Copy) -> Checked {
    let TableAlias { explicit: _, name: _, columns, at: position } = alias;
    none(position.as_ref().map(|at| format!("at {at}")), LEAVE_OUT, at)?;
    for column in columns {
        let TableAliasColumnDef { name, data_type } = column;
        let typed = data_type.as_ref().map(|data_type| format!("{name} {data_type}"));
        none(typed, "cast the column in the `select`", || column.span())?;
    }
    ControlFlow::Continue(())
}

/// The kind of a function, in the order in which DataFusion looks up its name.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// One value per row; everything after its parentheses is ignored
    Scalar,
    /// `sum(…)`
    Aggregate {
        knows_nulls: bool,
    },
    /// `row_number() over …`
    Window {
        knows_nulls: bool,
    },
    Unknown,
}

fn kind(name: &ObjectName, is_over: bool, state: &SessionState) -> Kind {
    let Some(ident) = name.0.first().and_then(|part| part.as_ident()) else { return Kind::Unknown };
    let Ident { value, quote_style, span: _ } = ident;
    let name = if quote_style.is_some() { value.clone() } else { value.to_ascii_lowercase() };
    let constructors = ["make_map", "map", "unnest", "unnest_outer"];
    let is_scalar = state.scalar_functions().contains_key(&name)
        || state.higher_order_functions().contains_key(&name)
        || constructors.contains(&name.as_str());
    // Functions of both kinds are window functions before `over`.
    let is_by_position = ["first_value", "last_value", "nth_value"].contains(&name.as_str());
    match state.aggregate_functions().get(&name) {
        _ if is_scalar => Kind::Scalar,
        Some(function) if !(is_over && is_by_position) => {
            Kind::Aggregate { knows_nulls: function.supports_null_handling_clause() }
        }
        _ if state.window_functions().contains_key(&name) => {
            let knows_nulls = is_by_position || ["lag", "lead"].contains(&name.as_str());
            Kind::Window { knows_nulls }
        }
        _ => Kind::Unknown,
    }
}

fn check_function(function: &Function, state: &SessionState) -> Checked {
    let Function {
        name,
        uses_odbc_syntax: _,
        parameters,
        args,
        filter,
        null_treatment,
        over,
        within_group,
    } = function;
    let at = || name.span();
    let given = "give all arguments in one pair of parentheses";
    no(*parameters != FunctionArguments::None, &format!("{name}(…)(…)"), given, at)?;
    let list = match args {
        FunctionArguments::None => None,
        FunctionArguments::Subquery(_) => {
            let instead = format!("give the subquery its own parentheses: `{name}((select …))`");
            return no(true, &format!("{name}(select …)"), &instead, at);
        }
        FunctionArguments::List(list) => Some(list),
    };
    let (mut is_distinct, mut is_ordered, mut nulls) = (false, false, *null_treatment);
    if let Some(FunctionArgumentList { duplicate_treatment, args: _, clauses }) = list {
        is_distinct = duplicate_treatment.is_some();
        for clause in clauses {
            match clause {
                FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => nulls = Some(*treatment),
                FunctionArgumentClause::OrderBy(_) => is_ordered = true,
                other => none(Some(other), LEAVE_OUT, at)?,
            }
        }
    }
    if let Some(WindowType::WindowSpec(spec)) = over {
        check_window(spec, at)?;
    }
    let of = |clause: &str| format!("{clause} of `{name}`");
    let kind = kind(name, over.is_some(), state);
    let only_aggregates = "only aggregates take it; leave it out";
    match kind {
        Kind::Scalar => {
            no(over.is_some(), &of("over"), "only aggregates and window functions take it", at)?;
            let filter = filter.as_ref().map(|_| of("filter"));
            none(filter, "write `case when … end`", at)?;
            no(is_ordered, &of("order by"), only_aggregates, at)?;
        }
        Kind::Window { .. } => {
            let filter = filter.as_ref().map(|_| of("filter"));
            none(filter, "choose the rows with `where` first", at)?;
        }
        Kind::Aggregate { .. } | Kind::Unknown => {}
    }
    let knows_nulls = match kind {
        Kind::Scalar => false,
        Kind::Aggregate { knows_nulls } | Kind::Window { knows_nulls } => knows_nulls,
        Kind::Unknown => true,
    };
    let nulls = nulls.filter(|_| !knows_nulls).map(|nulls| of(&nulls.to_string()));
    none(nulls, LEAVE_OUT, at)?;
    if matches!(kind, Kind::Scalar | Kind::Window { .. }) {
        no(is_distinct, &of("distinct or all"), only_aggregates, at)?;
        no(!within_group.is_empty(), &of("within group"), only_aggregates, at)?;
    }
    ControlFlow::Continue(())
}

fn check_window(spec: &WindowSpec, at: impl Fn() -> Span) -> Checked {
    let WindowSpec { window_name, partition_by: _, order_by, window_frame: _ } = spec;
    let name = window_name.as_ref().map(|name| format!("over ({name} …)"));
    none(name, "write the whole window: `over (partition by … order by …)`", at)?;
    order_by.iter().try_for_each(check_order_by_expr)
}

/// DataFusion reads `varchar(3)` as `varchar`, and `float(53)` as a float of 32 bits.
fn check_type(data_type: &DataType, at: impl Fn() -> Span) -> Checked {
    match data_type {
        DataType::Varchar(Some(_)) | DataType::Char(Some(_)) | DataType::String(Some(_)) => {
            none(Some(data_type), TRUNCATE, at)
        }
        DataType::Float(info) => {
            let is_given = info.to_string() != "";
            none(is_given.then_some(data_type), "write `real` or `double`", at)
        }
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => check_type(item, at),
        _ => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;
    use datafusion::sql::parser::{DFParser, Statement};
    use datafusion::sql::sqlparser::ast;

    fn checked(sql: &str) -> Result<(), Ignored> {
        let statements = DFParser::parse_sql(sql)
            .map_err(|err| Ignored { span: Span::empty(), message: err.to_string() })?;
        let Statement::Statement(statement) = &statements[0] else { panic!("{sql}") };
        let ast::Statement::Query(query) = statement.as_ref() else { panic!("{sql}") };
        check(query, &SessionContext::new().state())
    }

    /// One query for each clause, with what the message begins with.
    const IGNORED: &[(&str, &str)] = &[
        ("select * from users tablesample (10)", "TABLESAMPLE (10)"),
        ("select * from users sample 0.1", "SAMPLE 0.1"),
        ("select * from users as u tablesample bernoulli (10 percent)", "TABLESAMPLE BERNOULLI"),
        ("select * from (select * from users) tablesample (10 rows)", "TABLESAMPLE (10 ROWS)"),
        ("select * from users for update", "FOR UPDATE"),
        ("select * from users for share skip locked", "FOR SHARE SKIP LOCKED"),
        ("select * from users for browse", "FOR BROWSE"),
        ("select * from users for json auto", "FOR JSON AUTO"),
        ("select * from users settings max_threads = 1", "settings max_threads = 1"),
        ("select * from users format csv", "FORMAT csv"),
        ("select * from users fetch first 5 rows only", "FETCH FIRST 5 ROWS ONLY"),
        ("select * from users fetch first 5 rows with ties", "FETCH FIRST 5 ROWS WITH TIES"),
        ("select * from users fetch first 5 percent rows only", "FETCH FIRST 5 PERCENT ROWS ONLY"),
        ("select * from users limit 5 by user_id", "limit … by user_id"),
        ("select top 5 * from users", "TOP 5"),
        ("select user_id from users order by user_id with fill", "WITH FILL"),
        ("select user_id from users order by user_id interpolate", "interpolate"),
        ("select * into copy from users", "INTO copy"),
        ("select * from users prewhere user_id > 1", "prewhere user_id > 1"),
        ("select * from users connect by prior user_id = user_id", "CONNECT BY"),
        ("select user_id from users group by user_id with rollup", "WITH ROLLUP"),
        ("select user_id from users group by user_id with totals", "WITH TOTALS"),
        ("select user_id from users group by all with cube", "WITH CUBE"),
        ("select user_id from users cluster by user_id", "cluster by user_id"),
        ("select user_id from users sort by user_id", "sort by user_id"),
        ("select * from users lateral view explode(a) t as b", "LATERAL VIEW"),
        ("from users", "from … without select"),
        ("select * rename (user_id as id) from users", "RENAME"),
        ("select /*+ hint */ * from users", "/*+ hint */"),
        ("select * from users with (nolock)", "with (nolock)"),
        ("select * from users partition (p0)", "partition (p0)"),
        ("select * from range(1, 2) with ordinality", "with ordinality"),
        ("select * from unnest(make_array(1)) with ordinality", "with ordinality"),
        ("select * from unnest(make_array(1)) with offset", "with offset"),
        ("select * from users, lateral f(a => 1)", "a => 1"),
        ("select * from users as u (a int, b text)", "a INT"),
        ("with u (a int) as (select 1) select * from u", "a INT"),
        (
            "with recursive u as (select 1 as a union all select a from u order by a) select * from u",
            "order by … of a recursive query",
        ),
        (
            "with recursive u as (select 1 as a union all select a from u limit 5) select * from u",
            "limit … of a recursive query",
        ),
        (
            "with recursive u as (select 1 as a union all by name select a from u) select * from u",
            "union by name in a recursive query",
        ),
        ("select * from users global join brands on true", "global join"),
        ("select * from users semi join brands on true", "semi join"),
        ("select * from users anti join brands on true", "anti join"),
        ("select * from users cross apply f(1)", "apply"),
        ("select * from users array join a", "array join"),
        ("select * from users pivot (sum(a) for b in ('x'))", "users PIVOT"),
        ("select * from users unpivot (a for b in (c, d))", "users UNPIVOT"),
        ("select abs(user_id) over () from users", "over of `abs`"),
        ("select abs(user_id) filter (where true) from users", "filter of `abs`"),
        ("select abs(distinct user_id) from users", "distinct or all of `abs`"),
        ("select abs(user_id order by user_id) from users", "order by of `abs`"),
        ("select abs(user_id) ignore nulls from users", "IGNORE NULLS of `abs`"),
        ("select abs(1) within group (order by 1) from users", "within group of `abs`"),
        ("select unnest(distinct a) from users", "distinct or all of `unnest`"),
        ("select sum(a) ignore nulls over () from users", "IGNORE NULLS of `sum`"),
        ("select row_number() ignore nulls over () from users", "IGNORE NULLS of `row_number`"),
        ("select row_number() filter (where true) over () from users", "filter of `row_number`"),
        ("select ntile(distinct 4) over () from users", "distinct or all of `ntile`"),
        ("select array_agg(a limit 2) from users", "LIMIT 2"),
        ("select quantile(0.5)(a) from users", "quantile(…)(…)"),
        ("select sum(a) over (w order by b) from users window w as (partition by c)", "over (w …)"),
        ("select a from users window w as (order by b) qualify sum(a) over w > 1", "over w"),
        ("select cast(a as varchar(3)) from users", "VARCHAR(3)"),
        ("select a::char(3) from users", "CHAR(3)"),
        ("select try_cast(a as varchar(3)[]) from users", "VARCHAR(3)"),
        ("select cast(a as float(53)) from users", "FLOAT(53)"),
        ("select trim(a, 'x', 'y') from users", "TRIM(a, 'x', 'y')"),
        ("select * from users |> aggregate sum(a) group by b desc", "b DESC"),
        ("select * from users |> tablesample (10)", "TABLESAMPLE (10)"),
    ];

    #[test]
    fn clauses_that_datafusion_would_ignore_are_rejected() {
        let mut wrong = Vec::new();
        for (sql, clause) in IGNORED {
            let found = checked(sql).err().map_or_else(String::new, |ignored| ignored.message);
            if !(found.starts_with(&format!("`{clause}")) && found.contains("\nhint: ")) {
                wrong.push(format!("{sql}: {found}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_clause_is_found_wherever_it_is_nested() {
        let sample = "select * from users tablesample (10)";
        for sql in [
            format!("with u as ({sample}) select * from u"),
            format!("select * from ({sample})"),
            format!("select 1 union all ({sample})"),
            format!("select * from brands where brand_id in ({sample})"),
            format!("select (select max(user_id) from ({sample})) as a"),
            "select * from brands cross join users tablesample (10)".to_owned(),
            "select * from (brands cross join users tablesample (10))".to_owned(),
        ] {
            let found = checked(&sql).expect_err(&sql);
            assert!(found.message.starts_with("`TABLESAMPLE (10)`"), "{sql}: {}", found.message);
            assert_eq!(found.span.start.line, 1, "{sql}");
        }
    }

    #[test]
    fn the_place_is_that_of_the_table() {
        let found = checked("select *\nfrom\n  users tablesample (10)").unwrap_err();
        assert_eq!((found.span.start.line, found.span.start.column), (3, 3));
    }

    #[test]
    fn queries_of_the_project_pass() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = std::fs::read_dir(root.join("datasets")).unwrap();
        let folders = folders.map(|folder| folder.unwrap().path()).filter(|path| path.is_dir());
        let mut n_checked = 0;
        for folder in folders.chain([root.join("sample-stage/sql")]) {
            for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
                if file.extension().is_some_and(|ending| ending == "sql") {
                    let text = std::fs::read_to_string(&file).unwrap();
                    if let Err(ignored) = checked(&text) {
                        panic!("{}: {}", file.display(), ignored.message);
                    }
                    n_checked += 1;
                }
            }
        }
        assert!(n_checked > 8, "{n_checked}");
    }

    #[test]
    fn clauses_that_datafusion_supports_pass() {
        for sql in [
            "select distinct on (a) a, b from users order by a, b desc nulls last limit 5 offset 2",
            "select * exclude (a) from users",
            "select * except (a) from users",
            "select * replace (a + 1 as a) from users",
            "select u.* from users as u (a, b)",
            "select a, sum(b) from users group by rollup (a)",
            "select a from users group by all order by all",
            "select sum(a) over w from users window w as (partition by b order by c)",
            "select row_number() over (order by a) as r from users qualify r = 1",
            "select array_agg(distinct a order by a) filter (where a > 1) from users",
            "select first_value(a) ignore nulls over (order by b) from users",
            "select lag(a) ignore nulls over (order by b) from users",
            "select array_agg(a) ignore nulls from users",
            "select percentile_cont(0.5) within group (order by a) from users",
            "select * from users left semi join brands on true cross join lateral (select 1)",
            "with recursive u (a) as (select 1 union all select a + 1 from u where a < 9) select * from u",
            "select cast(a as varchar), cast(a as decimal(9, 2)), a::double from users",
            "select trim(both 'x' from a), extract(year from a), a between 1 and 2 from users",
            "select * from range(1, 5) union by name select 1",
            "select * from users |> where a > 1 |> order by a |> limit 5",
        ] {
            if let Err(ignored) = checked(sql) {
                panic!("{sql}: {}", ignored.message);
            }
        }
    }
}
