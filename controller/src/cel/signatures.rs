//! What may be called, with which types.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::types::Type;

/// One way to call a function.
#[derive(Debug, Clone)]
pub(super) struct Overload {
    /// The name by which costs are looked up.
    pub(super) id: &'static str,
    /// Whether it is called on a value: then that is the first parameter.
    pub(super) on_value: bool,
    pub(super) parameters: Vec<Type>,
    pub(super) result: Type,
    /// How many type parameters the types have: those below this number.
    pub(super) open: usize,
}

/// The overloads of a function, by its name.
pub(super) fn overloads(function: &str) -> Option<&'static [Overload]> {
    static ALL: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
        let mut all: HashMap<&'static str, Vec<Overload>> = HashMap::new();
        for line in DECLARATIONS.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (function, overload) = declaration(line);
            all.entry(function).or_default().push(overload);
        }
        // The other comparisons are as "less than", in their costs too.
        for other in ["_<=_", "_>_", "_>=_"] {
            let same = all.get("_<_").cloned().unwrap_or_default();
            all.insert(other, same);
        }
        all
    });
    ALL.get(function).map(Vec::as_slice)
}

/// The type that a name stands for in an expression, as in `type(x) == string`.
pub(super) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "dyn" => Type::Dyn,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "int" => Type::Int,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "optional_type" => Type::optional(Type::Dyn),
        "string" => Type::String,
        "type" => Type::Meta(Type::Dyn.into()),
        "uint" => Type::Uint,
        "net.IP" => Type::Object("net.IP"),
        "net.CIDR" => Type::Object("net.CIDR"),
        "kubernetes.URL" => Type::Object("kubernetes.URL"),
        _ => return None,
    })
}

/// One line of the declarations.
fn declaration(line: &'static str) -> (&'static str, Overload) {
    let (id, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (called, result) = rest.split_once(" -> ").unwrap_or((rest, "dyn"));
    let (function, parameters) = called.split_once('(').unwrap_or((called, ""));
    let mut open = String::new();
    let parameters = parameters.strip_suffix(')').unwrap_or(parameters);
    let parameters: Vec<Type> = elements(parameters).map(|text| parsed(text, &mut open)).collect();
    let result = parsed(result, &mut open);
    let (function, on_value) =
        function.strip_prefix('.').map_or((function, false), |function| (function, true));
    (function, Overload { id, on_value, parameters, result, open: open.len() })
}

/// A type as the declarations write it. The letters met so far are its parameters.
fn parsed(text: &'static str, open: &mut String) -> Type {
    if let Some((outer, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let mut inner = elements(inner).map(|text| parsed(text, open));
        let first = inner.next().unwrap_or(Type::Dyn);
        return match outer {
            "list" => Type::list(first),
            "map" => Type::map(first, inner.next().unwrap_or(Type::Dyn)),
            "optional" => Type::optional(first),
            _ => Type::Meta(first.into()),
        };
    }
    match text {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "duration" => Type::Duration,
        "dyn" => Type::Dyn,
        "int" => Type::Int,
        "string" => Type::String,
        "timestamp" => Type::Timestamp,
        "uint" => Type::Uint,
        letter if letter.len() == 1 => {
            let number = open.find(letter).unwrap_or_else(|| {
                open.push_str(letter);
                open.len() - 1
            });
            Type::Parameter(u32::try_from(number).unwrap_or(u32::MAX))
        }
        name => Type::Object(name),
    }
}

/// What stands between the commas that are in no parenthesis.
fn elements(text: &'static str) -> impl Iterator<Item = &'static str> {
    let mut depth = 0;
    text.split(move |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|text| !text.is_empty())
}

/// Each line: the id of the overload, the function (behind a point when it is called on its first parameter), its
/// parameters, and its result. A single capital letter is a type parameter.
const DECLARATIONS: &str = r"
    conditional _?_:_(bool, A, A) -> A
    logical_and _&&_(bool, bool) -> bool
    logical_or _||_(bool, bool) -> bool
    logical_not !_(bool) -> bool
    not_strictly_false @not_strictly_false(bool) -> bool
    equals _==_(A, A) -> bool
    not_equals _!=_(A, A) -> bool
    add_bytes _+_(bytes, bytes) -> bytes
    add_double _+_(double, double) -> double
    add_duration_duration _+_(duration, duration) -> duration
    add_duration_timestamp _+_(duration, timestamp) -> timestamp
    add_timestamp_duration _+_(timestamp, duration) -> timestamp
    add_int64 _+_(int, int) -> int
    add_list _+_(list(A), list(A)) -> list(A)
    add_string _+_(string, string) -> string
    add_uint64 _+_(uint, uint) -> uint
    divide_double _/_(double, double) -> double
    divide_int64 _/_(int, int) -> int
    divide_uint64 _/_(uint, uint) -> uint
    modulo_int64 _%_(int, int) -> int
    modulo_uint64 _%_(uint, uint) -> uint
    multiply_double _*_(double, double) -> double
    multiply_int64 _*_(int, int) -> int
    multiply_uint64 _*_(uint, uint) -> uint
    negate_double -_(double) -> double
    negate_int64 -_(int) -> int
    subtract_double _-_(double, double) -> double
    subtract_duration_duration _-_(duration, duration) -> duration
    subtract_int64 _-_(int, int) -> int
    subtract_timestamp_duration _-_(timestamp, duration) -> timestamp
    subtract_timestamp_timestamp _-_(timestamp, timestamp) -> duration
    subtract_uint64 _-_(uint, uint) -> uint
    less_bool _<_(bool, bool) -> bool
    less_int64 _<_(int, int) -> bool
    less_int64_double _<_(int, double) -> bool
    less_int64_uint64 _<_(int, uint) -> bool
    less_uint64 _<_(uint, uint) -> bool
    less_uint64_double _<_(uint, double) -> bool
    less_uint64_int64 _<_(uint, int) -> bool
    less_double _<_(double, double) -> bool
    less_double_int64 _<_(double, int) -> bool
    less_double_uint64 _<_(double, uint) -> bool
    less_string _<_(string, string) -> bool
    less_bytes _<_(bytes, bytes) -> bool
    less_timestamp _<_(timestamp, timestamp) -> bool
    less_duration _<_(duration, duration) -> bool
    index_list _[_](list(A), int) -> A
    index_map _[_](map(A, B), A) -> B
    optional_list_index_int _[_](optional(list(V)), int) -> optional(V)
    optional_map_index_value _[_](optional(map(K, V)), K) -> optional(V)
    list_optindex_optional_int _[?_](list(V), int) -> optional(V)
    optional_list_optindex_optional_int _[?_](optional(list(V)), int) -> optional(V)
    map_optindex_optional_value _[?_](map(K, V), K) -> optional(V)
    optional_map_optindex_optional_value _[?_](optional(map(K, V)), K) -> optional(V)
    in_list @in(A, list(A)) -> bool
    in_map @in(A, map(A, B)) -> bool
    size_bytes size(bytes) -> int
    bytes_size .size(bytes) -> int
    size_list size(list(A)) -> int
    list_size .size(list(A)) -> int
    size_map size(map(A, B)) -> int
    map_size .size(map(A, B)) -> int
    size_string size(string) -> int
    string_size .size(string) -> int
    type type(A) -> type(A)
    bool_to_bool bool(bool) -> bool
    string_to_bool bool(string) -> bool
    bytes_to_bytes bytes(bytes) -> bytes
    string_to_bytes bytes(string) -> bytes
    double_to_double double(double) -> double
    int64_to_double double(int) -> double
    string_to_double double(string) -> double
    uint64_to_double double(uint) -> double
    duration_to_duration duration(duration) -> duration
    int64_to_duration duration(int) -> duration
    string_to_duration duration(string) -> duration
    to_dyn dyn(A) -> dyn
    int64_to_int64 int(int) -> int
    double_to_int64 int(double) -> int
    duration_to_int64 int(duration) -> int
    string_to_int64 int(string) -> int
    timestamp_to_int64 int(timestamp) -> int
    uint64_to_int64 int(uint) -> int
    string_to_string string(string) -> string
    bool_to_string string(bool) -> string
    bytes_to_string string(bytes) -> string
    double_to_string string(double) -> string
    duration_to_string string(duration) -> string
    int64_to_string string(int) -> string
    timestamp_to_string string(timestamp) -> string
    uint64_to_string string(uint) -> string
    ip_to_string string(net.IP) -> string
    cidr_to_string string(net.CIDR) -> string
    timestamp_to_timestamp timestamp(timestamp) -> timestamp
    int64_to_timestamp timestamp(int) -> timestamp
    string_to_timestamp timestamp(string) -> timestamp
    uint64_to_uint64 uint(uint) -> uint
    double_to_uint64 uint(double) -> uint
    int64_to_uint64 uint(int) -> uint
    string_to_uint64 uint(string) -> uint
    contains_string .contains(string, string) -> bool
    ends_with_string .endsWith(string, string) -> bool
    starts_with_string .startsWith(string, string) -> bool
    matches matches(string, string) -> bool
    matches_string .matches(string, string) -> bool
    timestamp_to_year .getFullYear(timestamp) -> int
    timestamp_to_year_with_tz .getFullYear(timestamp, string) -> int
    timestamp_to_month .getMonth(timestamp) -> int
    timestamp_to_month_with_tz .getMonth(timestamp, string) -> int
    timestamp_to_day_of_year .getDayOfYear(timestamp) -> int
    timestamp_to_day_of_year_with_tz .getDayOfYear(timestamp, string) -> int
    timestamp_to_day_of_month .getDayOfMonth(timestamp) -> int
    timestamp_to_day_of_month_with_tz .getDayOfMonth(timestamp, string) -> int
    timestamp_to_day_of_month_1_based .getDate(timestamp) -> int
    timestamp_to_day_of_month_1_based_with_tz .getDate(timestamp, string) -> int
    timestamp_to_day_of_week .getDayOfWeek(timestamp) -> int
    timestamp_to_day_of_week_with_tz .getDayOfWeek(timestamp, string) -> int
    timestamp_to_hours .getHours(timestamp) -> int
    timestamp_to_hours_with_tz .getHours(timestamp, string) -> int
    duration_to_hours .getHours(duration) -> int
    timestamp_to_minutes .getMinutes(timestamp) -> int
    timestamp_to_minutes_with_tz .getMinutes(timestamp, string) -> int
    duration_to_minutes .getMinutes(duration) -> int
    timestamp_to_seconds .getSeconds(timestamp) -> int
    timestamp_to_seconds_tz .getSeconds(timestamp, string) -> int
    duration_to_seconds .getSeconds(duration) -> int
    timestamp_to_milliseconds .getMilliseconds(timestamp) -> int
    timestamp_to_milliseconds_with_tz .getMilliseconds(timestamp, string) -> int
    duration_to_milliseconds .getMilliseconds(duration) -> int

    optional_of optional.of(V) -> optional(V)
    optional_ofNonZeroValue optional.ofNonZeroValue(V) -> optional(V)
    optional_none optional.none() -> optional(V)
    optional_value .value(optional(V)) -> V
    optional_hasValue .hasValue(optional(V)) -> bool
    optional_or_optional .or(optional(V), optional(V)) -> optional(V)
    optional_orValue_value .orValue(optional(V), V) -> V
    list_last .last(list(V)) -> optional(V)
    list_first .first(list(V)) -> optional(V)
    optional_unwrap optional.unwrap(list(optional(V))) -> list(V)
    optional_unwrapOpt .unwrapOpt(list(optional(V))) -> list(V)

    string_char_at_int .charAt(string, int) -> string
    string_index_of_string .indexOf(string, string) -> int
    string_index_of_string_int .indexOf(string, string, int) -> int
    string_last_index_of_string .lastIndexOf(string, string) -> int
    string_last_index_of_string_int .lastIndexOf(string, string, int) -> int
    string_lower_ascii .lowerAscii(string) -> string
    string_replace_string_string .replace(string, string, string) -> string
    string_replace_string_string_int .replace(string, string, string, int) -> string
    string_split_string .split(string, string) -> list(string)
    string_split_string_int .split(string, string, int) -> list(string)
    string_substring_int .substring(string, int) -> string
    string_substring_int_int .substring(string, int, int) -> string
    string_trim .trim(string) -> string
    string_upper_ascii .upperAscii(string) -> string
    string_format .format(string, list(dyn)) -> string
    strings_quote strings.quote(string) -> string
    list_join .join(list(string)) -> string
    list_join_string .join(list(string), string) -> string

    list_sets_contains_list sets.contains(list(T), list(T)) -> bool
    list_sets_equivalent_list sets.equivalent(list(T), list(T)) -> bool
    list_sets_intersects_list sets.intersects(list(T), list(T)) -> bool

    list_slice .slice(list(T), int, int) -> list(T)
    list_flatten .flatten(list(list(T))) -> list(T)
    list_flatten_int .flatten(list(dyn), int) -> list(dyn)
    list_int_sort .sort(list(int)) -> list(int)
    list_uint_sort .sort(list(uint)) -> list(uint)
    list_double_sort .sort(list(double)) -> list(double)
    list_bool_sort .sort(list(bool)) -> list(bool)
    list_duration_sort .sort(list(duration)) -> list(duration)
    list_timestamp_sort .sort(list(timestamp)) -> list(timestamp)
    list_string_sort .sort(list(string)) -> list(string)
    list_bytes_sort .sort(list(bytes)) -> list(bytes)
    list_int_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(int)) -> list(T)
    list_uint_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(uint)) -> list(T)
    list_double_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(double)) -> list(T)
    list_bool_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(bool)) -> list(T)
    list_duration_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(duration)) -> list(T)
    list_timestamp_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(timestamp)) -> list(T)
    list_string_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(string)) -> list(T)
    list_bytes_sortByAssociatedKeys .@sortByAssociatedKeys(list(T), list(bytes)) -> list(T)
    lists_range lists.range(int) -> list(int)
    list_reverse .reverse(list(T)) -> list(T)
    list_distinct .distinct(list(T)) -> list(T)

    map_insert cel.@mapInsert(map(K, V), K, V) -> map(K, V)
    map_insert_map cel.@mapInsert(map(K, V), map(K, V)) -> map(K, V)

    list_int_is_sorted_bool .isSorted(list(int)) -> bool
    list_uint_is_sorted_bool .isSorted(list(uint)) -> bool
    list_double_is_sorted_bool .isSorted(list(double)) -> bool
    list_bool_is_sorted_bool .isSorted(list(bool)) -> bool
    list_duration_is_sorted_bool .isSorted(list(duration)) -> bool
    list_timestamp_is_sorted_bool .isSorted(list(timestamp)) -> bool
    list_string_is_sorted_bool .isSorted(list(string)) -> bool
    list_bytes_is_sorted_bool .isSorted(list(bytes)) -> bool
    list_int_sum_int .sum(list(int)) -> int
    list_uint_sum_uint .sum(list(uint)) -> uint
    list_double_sum_double .sum(list(double)) -> double
    list_duration_sum_duration .sum(list(duration)) -> duration
    list_int_max_int .max(list(int)) -> int
    list_uint_max_uint .max(list(uint)) -> uint
    list_double_max_double .max(list(double)) -> double
    list_bool_max_bool .max(list(bool)) -> bool
    list_duration_max_duration .max(list(duration)) -> duration
    list_timestamp_max_timestamp .max(list(timestamp)) -> timestamp
    list_string_max_string .max(list(string)) -> string
    list_bytes_max_bytes .max(list(bytes)) -> bytes
    list_int_min_int .min(list(int)) -> int
    list_uint_min_uint .min(list(uint)) -> uint
    list_double_min_double .min(list(double)) -> double
    list_bool_min_bool .min(list(bool)) -> bool
    list_duration_min_duration .min(list(duration)) -> duration
    list_timestamp_min_timestamp .min(list(timestamp)) -> timestamp
    list_string_min_string .min(list(string)) -> string
    list_bytes_min_bytes .min(list(bytes)) -> bytes
    list_a_index_of_int .indexOf(list(A), A) -> int
    list_a_last_index_of_int .lastIndexOf(list(A), A) -> int

    string_find_string .find(string, string) -> string
    string_find_all_string .findAll(string, string) -> list(string)
    string_find_all_string_int .findAll(string, string, int) -> list(string)

    string_to_url url(string) -> kubernetes.URL
    url_get_scheme .getScheme(kubernetes.URL) -> string
    url_get_host .getHost(kubernetes.URL) -> string
    url_get_hostname .getHostname(kubernetes.URL) -> string
    url_get_port .getPort(kubernetes.URL) -> string
    url_get_escaped_path .getEscapedPath(kubernetes.URL) -> string
    url_get_query .getQuery(kubernetes.URL) -> map(string, list(string))
    is_url_string isURL(string) -> bool

    string_to_quantity quantity(string) -> kubernetes.Quantity
    is_quantity_string isQuantity(string) -> bool
    quantity_sign sign(kubernetes.Quantity) -> int
    quantity_is_greater_than .isGreaterThan(kubernetes.Quantity, kubernetes.Quantity) -> bool
    quantity_is_less_than .isLessThan(kubernetes.Quantity, kubernetes.Quantity) -> bool
    quantity_compare_to .compareTo(kubernetes.Quantity, kubernetes.Quantity) -> int
    quantity_get_float .asApproximateFloat(kubernetes.Quantity) -> double
    quantity_get_int .asInteger(kubernetes.Quantity) -> int
    quantity_is_integer .isInteger(kubernetes.Quantity) -> bool
    quantity_add .add(kubernetes.Quantity, kubernetes.Quantity) -> kubernetes.Quantity
    quantity_add_int .add(kubernetes.Quantity, int) -> kubernetes.Quantity
    quantity_sub .sub(kubernetes.Quantity, kubernetes.Quantity) -> kubernetes.Quantity
    quantity_sub_int .sub(kubernetes.Quantity, int) -> kubernetes.Quantity

    string_to_semver semver(string) -> kubernetes.Semver
    string_bool_to_semver semver(string, bool) -> kubernetes.Semver
    is_semver_string isSemver(string) -> bool
    is_semver_string_bool isSemver(string, bool) -> bool
    semver_is_greater_than .isGreaterThan(kubernetes.Semver, kubernetes.Semver) -> bool
    semver_is_less_than .isLessThan(kubernetes.Semver, kubernetes.Semver) -> bool
    semver_compare_to .compareTo(kubernetes.Semver, kubernetes.Semver) -> int
    semver_major .major(kubernetes.Semver) -> int
    semver_minor .minor(kubernetes.Semver) -> int
    semver_patch .patch(kubernetes.Semver) -> int

    string_to_ip ip(string) -> net.IP
    is_ip isIP(string) -> bool
    ip_is_canonical ip.isCanonical(string) -> bool
    ip_family .family(net.IP) -> int
    ip_is_unspecified .isUnspecified(net.IP) -> bool
    ip_is_loopback .isLoopback(net.IP) -> bool
    ip_is_link_local_multicast .isLinkLocalMulticast(net.IP) -> bool
    ip_is_link_local_unicast .isLinkLocalUnicast(net.IP) -> bool
    ip_is_global_unicast .isGlobalUnicast(net.IP) -> bool
    string_to_cidr cidr(string) -> net.CIDR
    is_cidr isCIDR(string) -> bool
    cidr_contains_ip_string .containsIP(net.CIDR, string) -> bool
    cidr_contains_ip_ip .containsIP(net.CIDR, net.IP) -> bool
    cidr_contains_cidr_string .containsCIDR(net.CIDR, string) -> bool
    cidr_contains_cidr .containsCIDR(net.CIDR, net.CIDR) -> bool
    cidr_ip .ip(net.CIDR) -> net.IP
    cidr_prefix_length .prefixLength(net.CIDR) -> int
    cidr_masked .masked(net.CIDR) -> net.CIDR

    format.dns1123Label format.dns1123Label() -> kubernetes.NamedFormat
    format.dns1123Subdomain format.dns1123Subdomain() -> kubernetes.NamedFormat
    format.dns1035Label format.dns1035Label() -> kubernetes.NamedFormat
    format.qualifiedName format.qualifiedName() -> kubernetes.NamedFormat
    format.dns1123LabelPrefix format.dns1123LabelPrefix() -> kubernetes.NamedFormat
    format.dns1123SubdomainPrefix format.dns1123SubdomainPrefix() -> kubernetes.NamedFormat
    format.dns1035LabelPrefix format.dns1035LabelPrefix() -> kubernetes.NamedFormat
    format.labelValue format.labelValue() -> kubernetes.NamedFormat
    format.uri format.uri() -> kubernetes.NamedFormat
    format.uuid format.uuid() -> kubernetes.NamedFormat
    format.byte format.byte() -> kubernetes.NamedFormat
    format.date format.date() -> kubernetes.NamedFormat
    format.datetime format.datetime() -> kubernetes.NamedFormat
    format-validate .validate(kubernetes.NamedFormat, string) -> optional(list(string))
    format-named format.named(string) -> optional(kubernetes.NamedFormat)

    authorizer_path .path(kubernetes.authorization.Authorizer, string) -> kubernetes.authorization.PathCheck
    authorizer_group .group(kubernetes.authorization.Authorizer, string) -> kubernetes.authorization.GroupCheck
    authorizer_serviceaccount .serviceAccount(kubernetes.authorization.Authorizer, string, string) -> kubernetes.authorization.Authorizer
    groupcheck_resource .resource(kubernetes.authorization.GroupCheck, string) -> kubernetes.authorization.ResourceCheck
    resourcecheck_subresource .subresource(kubernetes.authorization.ResourceCheck, string) -> kubernetes.authorization.ResourceCheck
    resourcecheck_namespace .namespace(kubernetes.authorization.ResourceCheck, string) -> kubernetes.authorization.ResourceCheck
    resourcecheck_name .name(kubernetes.authorization.ResourceCheck, string) -> kubernetes.authorization.ResourceCheck
    pathcheck_check .check(kubernetes.authorization.PathCheck, string) -> kubernetes.authorization.Decision
    resourcecheck_check .check(kubernetes.authorization.ResourceCheck, string) -> kubernetes.authorization.Decision
    decision_errored .errored(kubernetes.authorization.Decision) -> bool
    decision_error .error(kubernetes.authorization.Decision) -> string
    decision_allowed .allowed(kubernetes.authorization.Decision) -> bool
    decision_reason .reason(kubernetes.authorization.Decision) -> string
    authorizer_fieldselector .fieldSelector(kubernetes.authorization.ResourceCheck, string) -> kubernetes.authorization.ResourceCheck
    authorizer_labelselector .labelSelector(kubernetes.authorization.ResourceCheck, string) -> kubernetes.authorization.ResourceCheck

    dra_includes_dyn_dyn .includes(dyn, dyn) -> bool
";
