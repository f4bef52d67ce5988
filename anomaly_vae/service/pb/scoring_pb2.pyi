from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "request_id", "num_samples", "flag_only", "tensor", "columns", "max_std_error", "explain", "explain_all")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FLAG_ONLY_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    MAX_STD_ERROR_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_ALL_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    request_id: str
    num_samples: int
    flag_only: bool
    tensor: Tensor
    columns: Columns
    max_std_error: float
    explain: int
    explain_all: bool
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., request_id: _Optional[str] = ..., num_samples: _Optional[int] = ..., flag_only: bool = ..., tensor: _Optional[_Union[Tensor, _Mapping]] = ..., columns: _Optional[_Union[Columns, _Mapping]] = ..., max_std_error: _Optional[float] = ..., explain: _Optional[int] = ..., explain_all: bool = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("data", "dtype", "shape")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, data: _Optional[bytes] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Columns(_message.Message):
    __slots__ = ("column",)
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    column: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, column: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "fp64", "strings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FP64_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    fp64: bytes
    strings: Strings
    def __init__(self, name: _Optional[str] = ..., fp64: _Optional[bytes] = ..., strings: _Optional[_Union[Strings, _Mapping]] = ...) -> None: ...

class Strings(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, value: _Optional[_Iterable[str]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("log_px", "elbo", "std_error", "ess_ratio", "pareto_k", "p_value", "is_anomaly", "num_samples", "reason", "threshold", "target_fpr", "model_name", "model_version", "request_id", "bundle_digest", "reliable", "score", "tail", "upper_threshold", "contrast", "contrast_threshold", "explanations")
    LOG_PX_FIELD_NUMBER: _ClassVar[int]
    ELBO_FIELD_NUMBER: _ClassVar[int]
    STD_ERROR_FIELD_NUMBER: _ClassVar[int]
    ESS_RATIO_FIELD_NUMBER: _ClassVar[int]
    PARETO_K_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    IS_ANOMALY_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FPR_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RELIABLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    UPPER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CONTRAST_FIELD_NUMBER: _ClassVar[int]
    CONTRAST_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    log_px: _containers.RepeatedScalarFieldContainer[float]
    elbo: _containers.RepeatedScalarFieldContainer[float]
    std_error: _containers.RepeatedScalarFieldContainer[float]
    ess_ratio: _containers.RepeatedScalarFieldContainer[float]
    pareto_k: _containers.RepeatedScalarFieldContainer[float]
    p_value: _containers.RepeatedScalarFieldContainer[float]
    is_anomaly: _containers.RepeatedScalarFieldContainer[bool]
    num_samples: _containers.RepeatedScalarFieldContainer[int]
    reason: _containers.RepeatedScalarFieldContainer[str]
    threshold: float
    target_fpr: float
    model_name: str
    model_version: str
    request_id: str
    bundle_digest: str
    reliable: _containers.RepeatedScalarFieldContainer[bool]
    score: _containers.RepeatedScalarFieldContainer[float]
    tail: str
    upper_threshold: float
    contrast: _containers.RepeatedScalarFieldContainer[float]
    contrast_threshold: float
    explanations: _containers.RepeatedCompositeFieldContainer[Explanation]
    def __init__(self, log_px: _Optional[_Iterable[float]] = ..., elbo: _Optional[_Iterable[float]] = ..., std_error: _Optional[_Iterable[float]] = ..., ess_ratio: _Optional[_Iterable[float]] = ..., pareto_k: _Optional[_Iterable[float]] = ..., p_value: _Optional[_Iterable[float]] = ..., is_anomaly: _Optional[_Iterable[bool]] = ..., num_samples: _Optional[_Iterable[int]] = ..., reason: _Optional[_Iterable[str]] = ..., threshold: _Optional[float] = ..., target_fpr: _Optional[float] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., request_id: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., reliable: _Optional[_Iterable[bool]] = ..., score: _Optional[_Iterable[float]] = ..., tail: _Optional[str] = ..., upper_threshold: _Optional[float] = ..., contrast: _Optional[_Iterable[float]] = ..., contrast_threshold: _Optional[float] = ..., explanations: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: _containers.RepeatedCompositeFieldContainer[Why]
    def __init__(self, why: _Optional[_Iterable[_Union[Why, _Mapping]]] = ...) -> None: ...

class Why(_message.Message):
    __slots__ = ("column", "number", "text", "nats", "std_error", "excess", "low", "middle", "high", "levels", "p_value_without", "together", "is_novel", "cell")
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NATS_FIELD_NUMBER: _ClassVar[int]
    STD_ERROR_FIELD_NUMBER: _ClassVar[int]
    EXCESS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    MIDDLE_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_WITHOUT_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    IS_NOVEL_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    column: str
    number: float
    text: str
    nats: float
    std_error: float
    excess: float
    low: float
    middle: float
    high: float
    levels: _containers.RepeatedCompositeFieldContainer[Level]
    p_value_without: float
    together: _containers.RepeatedScalarFieldContainer[str]
    is_novel: bool
    cell: str
    def __init__(self, column: _Optional[str] = ..., number: _Optional[float] = ..., text: _Optional[str] = ..., nats: _Optional[float] = ..., std_error: _Optional[float] = ..., excess: _Optional[float] = ..., low: _Optional[float] = ..., middle: _Optional[float] = ..., high: _Optional[float] = ..., levels: _Optional[_Iterable[_Union[Level, _Mapping]]] = ..., p_value_without: _Optional[float] = ..., together: _Optional[_Iterable[str]] = ..., is_novel: bool = ..., cell: _Optional[str] = ...) -> None: ...

class Level(_message.Message):
    __slots__ = ("name", "probability")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    probability: float
    def __init__(self, name: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "request_id")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    request_id: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "bundle_digest", "format_version", "created_by", "created_at", "columns", "label", "calibration", "estimator", "limits", "inputs", "missing_values", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATOR_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_VALUES_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    bundle_digest: str
    format_version: int
    created_by: str
    created_at: str
    columns: _containers.RepeatedCompositeFieldContainer[ModelColumn]
    label: str
    calibration: Calibration
    estimator: Estimator
    limits: Limits
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    missing_values: _containers.RepeatedScalarFieldContainer[str]
    shape: Shape
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., format_version: _Optional[int] = ..., created_by: _Optional[str] = ..., created_at: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[ModelColumn, _Mapping]]] = ..., label: _Optional[str] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ..., estimator: _Optional[_Union[Estimator, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., missing_values: _Optional[_Iterable[str]] = ..., shape: _Optional[_Union[Shape, _Mapping]] = ...) -> None: ...

class Shape(_message.Message):
    __slots__ = ("kind", "sizes", "channels", "step_seconds", "timestamp", "series", "depth", "stride", "inputs", "low", "high")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    kind: str
    sizes: _containers.RepeatedScalarFieldContainer[int]
    channels: _containers.RepeatedScalarFieldContainer[str]
    step_seconds: float
    timestamp: str
    series: str
    depth: str
    stride: int
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    low: float
    high: float
    def __init__(self, kind: _Optional[str] = ..., sizes: _Optional[_Iterable[int]] = ..., channels: _Optional[_Iterable[str]] = ..., step_seconds: _Optional[float] = ..., timestamp: _Optional[str] = ..., series: _Optional[str] = ..., depth: _Optional[str] = ..., stride: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("name", "kind", "decimal", "thousands", "affixes", "truth", "order", "zone", "parts", "why")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_FIELD_NUMBER: _ClassVar[int]
    THOUSANDS_FIELD_NUMBER: _ClassVar[int]
    AFFIXES_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    decimal: str
    thousands: str
    affixes: _containers.RepeatedScalarFieldContainer[str]
    truth: bool
    order: str
    zone: str
    parts: _containers.RepeatedScalarFieldContainer[str]
    why: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., decimal: _Optional[str] = ..., thousands: _Optional[str] = ..., affixes: _Optional[_Iterable[str]] = ..., truth: bool = ..., order: _Optional[str] = ..., zone: _Optional[str] = ..., parts: _Optional[_Iterable[str]] = ..., why: _Optional[str] = ...) -> None: ...

class ModelColumn(_message.Message):
    __slots__ = ("name", "kind", "value", "categories", "step", "origin", "rare", "other_share", "novelty", "period")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RARE_FIELD_NUMBER: _ClassVar[int]
    OTHER_SHARE_FIELD_NUMBER: _ClassVar[int]
    NOVELTY_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    value: float
    categories: _containers.RepeatedScalarFieldContainer[str]
    step: float
    origin: float
    rare: _containers.RepeatedScalarFieldContainer[int]
    other_share: float
    novelty: str
    period: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., value: _Optional[float] = ..., categories: _Optional[_Iterable[str]] = ..., step: _Optional[float] = ..., origin: _Optional[float] = ..., rare: _Optional[_Iterable[int]] = ..., other_share: _Optional[float] = ..., novelty: _Optional[str] = ..., period: _Optional[float] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("threshold", "target_fpr", "effective_fpr", "confidence", "num_rows", "rank", "num_novel", "tail", "upper_threshold", "contrast_threshold")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FPR_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FPR_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    NUM_NOVEL_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    UPPER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CONTRAST_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    target_fpr: float
    effective_fpr: float
    confidence: float
    num_rows: int
    rank: int
    num_novel: int
    tail: str
    upper_threshold: float
    contrast_threshold: float
    def __init__(self, threshold: _Optional[float] = ..., target_fpr: _Optional[float] = ..., effective_fpr: _Optional[float] = ..., confidence: _Optional[float] = ..., num_rows: _Optional[int] = ..., rank: _Optional[int] = ..., num_novel: _Optional[int] = ..., tail: _Optional[str] = ..., upper_threshold: _Optional[float] = ..., contrast_threshold: _Optional[float] = ...) -> None: ...

class Estimator(_message.Message):
    __slots__ = ("num_samples", "scramblings", "budgets", "target_error", "careful_below")
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SCRAMBLINGS_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    TARGET_ERROR_FIELD_NUMBER: _ClassVar[int]
    CAREFUL_BELOW_FIELD_NUMBER: _ClassVar[int]
    num_samples: int
    scramblings: int
    budgets: _containers.RepeatedScalarFieldContainer[int]
    target_error: float
    careful_below: float
    def __init__(self, num_samples: _Optional[int] = ..., scramblings: _Optional[int] = ..., budgets: _Optional[_Iterable[int]] = ..., target_error: _Optional[float] = ..., careful_below: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_rows", "max_columns", "max_samples", "max_message_bytes", "max_explain")
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    MAX_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    max_rows: int
    max_columns: int
    max_samples: int
    max_message_bytes: int
    max_explain: int
    def __init__(self, max_rows: _Optional[int] = ..., max_columns: _Optional[int] = ..., max_samples: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_explain: _Optional[int] = ...) -> None: ...
