//! What is shared, in the words of S3 and to be read only: programs that take `s3://BUCKET/data/*.parquet` need to know
//! nothing of ODF.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | ListBuckets: the datasets that are shared |
//! | `GET /{bucket}` | ListObjectsV2, and ListObjects without `list-type=2` |
//! | `GET /{bucket}?location` | GetBucketLocation |
//! | `HEAD /{bucket}` | HeadBucket |
//! | `GET`, `HEAD /{bucket}/{key}` | GetObject, HeadObject |
//!
//! A bucket is a dataset at its head, by its name or by the IPNS name of its own key; [`keys`] says what its keys are. All
//! is read with the rights and the turns of a stranger, whoever signed the request: signatures are not looked at. Any other
//! method is refused with 405, and what S3 knows beyond this with 501.

mod keys;
mod list;
mod object;
mod problem;
mod xml;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use odf_dataset::Dataset;

use self::list::Parameters;
use self::problem::Problem;
use super::sender::Sender;
use super::{Server, access, body, request};

/// The most of a query that is read. A key has at most 1,024 bytes, each three characters, and a query three of them.
const MAX_QUERY_BYTES: usize = 16 << 10;

/// What S3 keeps beside objects and buckets, by the parameter that asks for it.
const ELSEWHERE: [&str; 26] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "retention",
    "tagging",
    "torrent",
    "uploads",
    "versions",
];

/// The buckets as a router.
pub(super) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", any(buckets))
        .route("/{bucket}", any(bucket))
        .route("/{bucket}/", any(bucket))
        .route("/{bucket}/{*key}", any(key))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), checked))
        .with_state(server)
}

/// Counts a request until its body has been sent or dropped, among those of strangers.
async fn checked(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let mut response = answered(&server, request, next).await;
    for (name, value) in [
        (header::SERVER, "odfs"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answered(server: &Server, request: Request, next: Next) -> Response {
    if access::is_of_another_site(server, request.headers()) {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "AccessDenied",
            "these buckets are not for pages of other web sites",
        )
        .into_response();
    }
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_reading {
        return Problem::read_only().into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    if query.len() > MAX_QUERY_BYTES {
        return Problem::invalid(format!("the query is longer than {MAX_QUERY_BYTES} bytes")).into_response();
    }
    let turn = match server.requests.take(&Sender::Anybody, &access::way(server, &request)) {
        Ok(turn) => turn,
        Err(refusal) => return Problem::from(refusal).into_response(),
    };
    let response = tokio::select! {
        biased;
        response = next.run(request) => response,
        () = turn.cut() => {
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "too many requests from your address")
                .into_response();
        }
    };
    turn.waits_for_client();
    response.map(|body| body::holding(body, turn))
}

/// `/`
async fn buckets(State(server): State<Arc<Server>>, uri: Uri) -> Result<Response, Problem> {
    request::blocking(move || list::buckets(&server, &parameters(&uri))).await?
}

/// `/{bucket}`
async fn bucket(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    method: Method,
) -> Result<Response, Problem> {
    let (Path(name), parameters) = (path?, parameters(&uri));
    request::blocking(move || {
        let dataset = dataset(&server, &name)?;
        if method == Method::HEAD {
            return Ok(with_region(Response::new(Body::empty())));
        }
        if parameters.contains_key("location") {
            return Ok(xml::location());
        }
        refuse_elsewhere(&parameters)?;
        if parameters.contains_key("versioning") {
            return Ok(xml::versioning());
        }
        list::objects(&dataset, &name, &parameters).map(with_region)
    })
    .await?
}

/// `/{bucket}/{key}`
async fn key(
    State(server): State<Arc<Server>>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (Path((bucket, key)), parameters) = (path?, parameters(&uri));
    request::blocking(move || {
        let dataset = dataset(&server, &bucket)?;
        refuse_elsewhere(&parameters)?;
        object::answer(&dataset, &key, &headers)
    })
    .await?
}

fn parameters(uri: &Uri) -> Parameters {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The dataset that a bucket stands for, if it is shared. Nobody is told of others.
fn dataset(server: &Server, bucket: &str) -> Result<Dataset, Problem> {
    let by_key = server.options.dataset_of_key.and_then(|of_key| of_key(bucket));
    let found = match by_key {
        Some(id) => server.by_id(&id)?,
        None => match bucket.parse() {
            Ok(name) => server.find(&name)?,
            Err(_) => None,
        },
    };
    found
        .filter(Dataset::is_shared)
        .ok_or_else(|| Problem::no_bucket(bucket))
}

fn refuse_elsewhere(parameters: &Parameters) -> Result<(), Problem> {
    match ELSEWHERE.iter().find(|name| parameters.contains_key(**name)) {
        Some(name) => Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("there is no {name} here"),
        )),
        None => Ok(()),
    }
}

/// Says the one region that there is, which clients want to know before they sign.
fn with_region(mut response: Response) -> Response {
    let region = HeaderValue::from_static("us-east-1");
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-amz-bucket-region"), region);
    response
}

#[cfg(test)]
mod tests;
