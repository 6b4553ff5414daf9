"""The sampling strategies as a DuckDB user would write them; writes a parquet training set with
the embeddings in every row."""

import sys

import duckdb

data, strategy, output = sys.argv[1:]
con = duckdb.connect()
con.execute(f"""
create view users as from '{data}/users.parquet';
create view interactions as from '{data}/interactions.parquet';
create view brands as from '{data}/brands.parquet';
""")

if strategy == "3":
    query = """
    with top_users as (
        select distinct user_id
        from (
            select user_id, row_number() over (
                partition by brand_id order by events desc, hash(user_id, 7)
            ) as user_rank
            from interactions
        )
        where user_rank <= 10000
    )
    select user_id, brands, embedding
    from (
        select user_id, list(brand_id) as brands
        from interactions join top_users using (user_id)
        group by user_id
    )
    join users using (user_id)
    """
else:
    lost = "where not is_high_volume" if strategy == "1a" else "where true"
    [(n_users,)] = con.sql("select least(count(*), 1000000) from users").fetchall()
    con.execute(f"""
    create temp table drawn as
        select user_id from users order by hash(user_id, 7) limit 1000000;
    create temp table marked as
        select brand_id, brand_idx >= 0.5 * count(*) over () as is_small,
            brand_idx < 0.01 * count(*) over () as is_high_volume
        from brands;
    create temp table user_brands as
        select user_id, list(brand_id) as brands,
            list(brand_id) filter ({lost}) as brands_of_clone,
            bool_or(is_small) as has_small_brand
        from interactions join marked using (brand_id) join drawn using (user_id)
        group by user_id;
    create temp table candidates as
        select user_id, row_number() over (order by user_id) - 1 as place
        from user_brands where has_small_brand;
    create temp table clones as
        select user_id
        from (
            select floor(random() * (select count(*) from candidates))::bigint as place
            from range({4 * n_users})
        )
        join candidates using (place);
    """)
    query = """
    select user_id, brands, false as is_clone, embedding
    from drawn left join user_brands using (user_id) join users using (user_id)
    union all
    select user_id, brands_of_clone as brands, true as is_clone, embedding
    from clones join user_brands using (user_id) join users using (user_id)
    """

con.execute(f"copy ({query}) to '{output}' (format parquet)")
