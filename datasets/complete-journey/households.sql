-- Households, each from its first purchase on, with what is known of their members at any time.
-- Grain:  one row per user_id (household).
-- Reads:  transactions, demographics.
-- Writes: user_id, first_bought_at, demographics (ids below; empty for households not described),
--         has_demographics.
with

households as (
    select
        transactions.household_id,
        min(transactions.transaction_timestamp) as first_bought_at
    from transactions
    group by transactions.household_id
),

-- The ids of `demographics`. They are positions of weights in trained models: add at the end.
levels as (
    select *
    from (
        values
        (0, 'age', '19-24'), (1, 'age', '25-34'), (2, 'age', '35-44'),
        (3, 'age', '45-54'), (4, 'age', '55-64'), (5, 'age', '65+'),
        (6, 'income', 'Under 15K'), (7, 'income', '15-24K'), (8, 'income', '25-34K'),
        (9, 'income', '35-49K'), (10, 'income', '50-74K'), (11, 'income', '75-99K'),
        (12, 'income', '100-124K'), (13, 'income', '125-149K'), (14, 'income', '150-174K'),
        (15, 'income', '175-199K'), (16, 'income', '200-249K'), (17, 'income', '250K+'),
        (18, 'home', 'Homeowner'), (19, 'home', 'Probable Homeowner'),
        (20, 'home', 'Probable Renter'), (21, 'home', 'Renter'),
        (22, 'marital', 'Married'), (23, 'marital', 'Unmarried'),
        (24, 'size', '1'), (25, 'size', '2'), (26, 'size', '3'),
        (27, 'size', '4'), (28, 'size', '5+'),
        (29, 'composition', '1 Adult Kids'), (30, 'composition', '1 Adult No Kids'),
        (31, 'composition', '2 Adults Kids'), (32, 'composition', '2 Adults No Kids'),
        (33, 'kids', '0'), (34, 'kids', '1'), (35, 'kids', '2'), (36, 'kids', '3+')
    ) as listed (level_id, attribute, level)
),

answers as (
    select household_id, 'age' as attribute, age as level from demographics
    union all
    select household_id, 'income' as attribute, income as level from demographics
    union all
    select household_id, 'home' as attribute, home_ownership as level from demographics
    union all
    select household_id, 'marital' as attribute, marital_status as level from demographics
    union all
    select household_id, 'size' as attribute, household_size as level from demographics
    union all
    select household_id, 'composition' as attribute, household_comp as level from demographics
    union all
    select household_id, 'kids' as attribute, kids_count as level from demographics
),

demographic_lists as (
    select
        answers.household_id,
        array_agg(levels.level_id order by levels.level_id) as demographics
    from answers
    inner join levels
        on levels.attribute = answers.attribute
        and levels.level = answers.level
    group by answers.household_id
)

select
    households.household_id as user_id,
    households.first_bought_at,
    demographic_lists.demographics,
    cast(demographic_lists.household_id is not null as bigint) as has_demographics
from households
left join demographic_lists on demographic_lists.household_id = households.household_id
