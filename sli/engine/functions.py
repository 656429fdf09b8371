"""The functions and types that SQL of a config may use: they compute from the values of one row, alike in every run.

All others are refused, so a later version of DuckDB cannot widen what a config can do. Limit: useful functions that
can make a value of any size (`repeat`, `range`, `lpad`) are refused too.
"""

from __future__ import annotations

_OPERATORS = "+ - * / // % ** ^ & | ~ << >> || xor @ ~~ !~~ ~~* !~~* ~~~ ^@ && @> <@ ->> ->"
_NUMBERS = """
abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp
factorial fdiv floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least
least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round round_even
roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc
"""
_CHOICES = "coalesce if ifnull nullif constant_or_null typeof"
_TEXTS = """
ascii base64 bin char_length character_length chr concat concat_ws contains damerau_levenshtein editdist3 encode
decode ends_with from_base64 from_hex hamming hex ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity
lcase left length len levenshtein like_escape lower ltrim md5 md5_number md5_number_lower md5_number_upper mismatches
nfc_normalize not_ilike_escape not_like_escape octet_length ord parse_dirname parse_filename position prefix
regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array
replace reverse right rtrim sha1 sha256 split split_part starts_with str_split str_split_regex string_split
string_split_regex string_to_array strip_accents strlen strpos substr substring suffix to_base64 to_hex translate trim
ucase unhex unicode upper url_decode url_encode
"""
_LISTS = """
array_contains array_distinct array_extract array_filter array_has array_has_all array_has_any array_indexof
array_length array_position array_slice array_sort array_transform array_to_string array_unique cardinality element_at
flatten list_any_value list_append list_avg list_bool_and list_bool_or list_cat list_concat list_contains
list_cosine_distance list_cosine_similarity list_count list_distance list_distinct list_dot_product list_element
list_extract list_first list_has list_has_all list_has_any list_indexof list_inner_product list_intersect list_last
list_mad list_max list_median list_min list_pack list_position list_prepend list_product list_reverse list_reverse_sort
list_slice list_sort list_stddev_pop list_stddev_samp list_sum list_unique list_value list_var_pop list_var_samp
map map_contains map_entries map_extract map_extract_value map_from_entries map_keys map_values struct_extract
struct_extract_at struct_pack
"""
_JSON = """
json json_array_length json_contains json_exists json_extract json_extract_path json_extract_path_text
json_extract_string json_keys json_type json_valid json_value
"""
_TIMES = """
century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day
make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond millennium
millisecond minute month monthname nanosecond normalized_interval quarter second strftime strptime time_bucket timezone
timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds to_millennia to_milliseconds
to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years try_strptime week weekday weekofyear year
yearweek
"""
_LAMBDAS = "list_transform array_transform list_apply array_apply apply list_filter array_filter filter"
LAMBDAS = frozenset(_LAMBDAS.split())
"""Functions that take a lambda as an argument."""
ALLOWED = frozenset(
    word for words in (_OPERATORS, _NUMBERS, _CHOICES, _TEXTS, _LISTS, _JSON, _TIMES) for word in words.split()
).union(LAMBDAS)

_TYPES = """
BIGINT BIT BLOB BOOLEAN BOOL CHAR DATE DATETIME DEC DECIMAL DOUBLE FLOAT FLOAT4 FLOAT8 HUGEINT INT INT1 INT2 INT4 INT8
INT16 INT32 INT64 INT128 INTEGER INTERVAL JSON LIST ARRAY LOGICAL LONG MAP NUMERIC REAL SHORT SIGNED SMALLINT STRING
STRUCT TEXT TIME TIMESTAMP TIMESTAMPTZ TIMESTAMP_MS TIMESTAMP_NS TIMESTAMP_S TIMESTAMP_US TINYINT UBIGINT UHUGEINT
UINTEGER UINT8 UINT16 UINT32 UINT64 USMALLINT UTINYINT UUID VARCHAR
"""
TYPES = frozenset(_TYPES.split()) | {"TIMESTAMP WITH TIME ZONE", "TIME WITH TIME ZONE"}

_AGGREGATES = """
any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min array_agg avg bool_and bool_or corr count
count_if count_star countif covar_pop covar_samp entropy first histogram kurtosis last list listagg mad max max_by mean
median min min_by mode product quantile quantile_cont quantile_disc skewness stddev stddev_pop stddev_samp string_agg
sum var_pop var_samp variance
"""
_CHANGING = """
age current_date current_localtime current_localtimestamp current_time current_timestamp gen_random_uuid
get_current_time get_current_timestamp localtime localtimestamp now random setseed today transaction_timestamp uuid
uuidv4 uuidv7
"""
_OUTSIDE = """
current_catalog current_database current_query current_role current_schema current_schemas current_setting current_user
getenv getvariable glob in_search_path json_deserialize_sql json_execute_serialized_sql json_serialize_plan
json_serialize_sql nextval currval setval parquet_scan pg_sleep query query_table read_blob read_csv read_csv_auto
read_json read_parquet read_text session_user setvariable sleep_ms user version write_log error
"""
_GROWING = """
array_resize bar format generate_series generate_subscripts list_reduce list_resize lpad printf range reduce repeat rpad
unnest
"""
REFUSED = {
    **dict.fromkeys(_AGGREGATES.split(), "is an aggregate; aggregates belong in `states`, one in each entry"),
    **dict.fromkeys(_CHANGING.split(), "gives another value in every run"),
    **dict.fromkeys(_OUTSIDE.split(), "reads more than the values of the row"),
    **dict.fromkeys(_GROWING.split(), "could make a value of any size"),
}
"""Why a function that users may look for is refused."""
