-- What is known of a household at the end of week 26; nothing later is read for a feature.
-- Grain:  one row per user_id (household that bought in both halves of the year).
-- Reads:  transactions, products, demographics, campaigns, campaign_descriptions.
-- Writes: user_id; past, past_events (manufacturers and baskets, same order);
--         demographics (ids below; empty for households not described); numbers, ln(1 + x)
--         where the name starts with log_.
with

-- Money in cents: whole numbers add up to the same sum in any order.
purchases as (
    select
        transactions.household_id,
        transactions.basket_id,
        transactions.store_id,
        transactions.product_id,
        transactions.week,
        cast(round(transactions.sales_value * 100) as bigint) as cents,
        cast(round(transactions.retail_disc * 100) as bigint) as discount_cents,
        cast(transactions.coupon_disc > 0 as bigint) as is_coupon,
        products.manufacturer_id,
        products.department,
        cast(products.brand = 'Private' as bigint) as is_private
    from transactions
    inner join products on products.product_id = transactions.product_id
),

households as (
    select purchases.household_id
    from purchases
    group by purchases.household_id
    having min(purchases.week) <= 26 and max(purchases.week) > 26
),

history as (
    select purchases.*
    from purchases
    inner join households on households.household_id = purchases.household_id
    where purchases.week <= 26
),

totals as (
    select
        history.household_id,
        sum(history.cents) / 100.0 as spend,
        coalesce(sum(history.cents) filter (where history.week > 13), 0) / 100.0 as late_spend,
        sum(history.discount_cents) / 100.0 as discount,
        count(*) as n_items,
        count(distinct history.basket_id) as n_trips,
        count(distinct history.product_id) as n_products,
        count(distinct history.manufacturer_id) as n_manufacturers,
        count(distinct history.store_id) as n_stores,
        count(distinct history.week) as n_weeks,
        min(history.week) as first_week,
        max(history.week) as last_week,
        sum(history.is_private) as n_private,
        sum(history.is_coupon) as n_coupons,
        coalesce(sum(history.cents) filter (where history.department = 'GROCERY'), 0) / 100.0 as grocery,
        coalesce(sum(history.cents) filter (where history.department = 'DRUG GM'), 0) / 100.0 as drug,
        coalesce(sum(history.cents) filter (where history.department = 'PRODUCE'), 0) / 100.0 as produce,
        coalesce(sum(history.cents) filter (where history.department in ('MEAT', 'MEAT-PCKGD')), 0) / 100.0 as meat,
        coalesce(sum(history.cents) filter (where history.department = 'DELI'), 0) / 100.0 as deli,
        coalesce(sum(history.cents) filter (where history.department = 'PASTRY'), 0) / 100.0 as pastry,
        coalesce(sum(history.cents) filter (where history.department = 'NUTRITION'), 0) / 100.0 as nutrition,
        coalesce(sum(history.cents) filter (where history.department = 'FUEL'), 0) / 100.0 as fuel
    from history
    group by history.household_id
),

-- Week 26 ends on Monday 26 June 2017.
campaign_counts as (
    select
        campaigns.household_id,
        count(distinct campaigns.campaign_id) as n_campaigns
    from campaigns
    inner join campaign_descriptions
        on campaign_descriptions.campaign_id = campaigns.campaign_id
    where campaign_descriptions.start_date < timestamp '2017-06-26 00:00:00'
    group by campaigns.household_id
),

past_manufacturers as (
    select
        history.household_id,
        history.manufacturer_id,
        count(distinct history.basket_id) as n_baskets
    from history
    group by history.household_id, history.manufacturer_id
),

past_lists as (
    select
        past_manufacturers.household_id,
        array_agg(
            past_manufacturers.manufacturer_id order by past_manufacturers.manufacturer_id
        ) as past,
        array_agg(
            past_manufacturers.n_baskets order by past_manufacturers.manufacturer_id
        ) as past_events
    from past_manufacturers
    group by past_manufacturers.household_id
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
),

features as (
    select
        totals.household_id as user_id,
        past_lists.past,
        past_lists.past_events,
        demographic_lists.demographics,
        cast(demographic_lists.household_id is not null as bigint) as has_demographics,
        ln(1.0 + totals.spend) as log_spend,
        ln(1.0 + totals.late_spend) as log_late_spend,
        ln(1.0 + totals.spend / totals.n_trips) as log_basket,
        ln(1.0 + totals.n_items) as log_items,
        ln(1.0 + totals.n_trips) as log_trips,
        ln(1.0 + totals.n_products) as log_products,
        ln(1.0 + totals.n_manufacturers) as log_manufacturers,
        ln(1.0 + totals.n_stores) as log_stores,
        totals.n_weeks as weeks_active,
        totals.first_week - 1 as weeks_before_first,
        26 - totals.last_week as weeks_since_last,
        1.0 * totals.n_private / totals.n_items as private_share,
        totals.discount / (totals.spend + totals.discount + 1.0) as discount_share,
        ln(1.0 + totals.n_coupons) as log_coupons,
        ln(1.0 + coalesce(campaign_counts.n_campaigns, 0)) as log_campaigns,
        ln(1.0 + totals.grocery) as log_grocery,
        ln(1.0 + totals.drug) as log_drug,
        ln(1.0 + totals.produce) as log_produce,
        ln(1.0 + totals.meat) as log_meat,
        ln(1.0 + totals.deli) as log_deli,
        ln(1.0 + totals.pastry) as log_pastry,
        ln(1.0 + totals.nutrition) as log_nutrition,
        ln(1.0 + totals.fuel) as log_fuel
    from totals
    inner join past_lists on past_lists.household_id = totals.household_id
    left join demographic_lists on demographic_lists.household_id = totals.household_id
    left join campaign_counts on campaign_counts.household_id = totals.household_id
)

select * from features
order by user_id
