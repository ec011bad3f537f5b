//! An operation, as it is described: a path, a method, what it takes and what it gives.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::refusals::header;

/// The media type of nearly everything.
pub(super) const JSON: &str = "application/json";

/// An operation, with the schemas that it names.
pub(super) struct Operation {
    path: &'static str,
    method: &'static str,
    content: Value,
    schemas: BTreeMap<String, Value>,
}

/// An operation that reads. The id is the name of a function in clients that are made of the document.
pub(super) fn get(path: &'static str, id: &'static str) -> Operation {
    Operation::new("get", path, id)
}

/// An operation that computes or changes something.
pub(super) fn post(path: &'static str, id: &'static str) -> Operation {
    Operation::new("post", path, id)
}

/// An operation that puts something in its place.
pub(super) fn put(path: &'static str, id: &'static str) -> Operation {
    Operation::new("put", path, id)
}

/// An operation that changes a part of something.
pub(super) fn patch(path: &'static str, id: &'static str) -> Operation {
    Operation::new("patch", path, id)
}

/// An operation that takes something away.
pub(super) fn delete(path: &'static str, id: &'static str) -> Operation {
    Operation::new("delete", path, id)
}

/// What stands for a schema where it is used.
pub(super) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &'static str) -> Self {
        Self {
            path,
            method,
            content: json!({"operationId": id, "responses": {}}),
            schemas: BTreeMap::new(),
        }
    }

    /// Puts it under a heading.
    pub(super) fn under(mut self, tag: &str) -> Self {
        self.content["tags"] = json!([tag]);
        self
    }

    /// Says what it is for: in a few words, and in sentences where a reader needs more.
    pub(super) fn about(mut self, summary: &str, description: &str) -> Self {
        self.content["summary"] = summary.into();
        if !description.is_empty() {
            self.content["description"] = description.into();
        }
        self
    }

    /// A JSON body of a type, which may be left out.
    pub(super) fn may_take<T: ToSchema>(mut self, example: &Value) -> Self {
        let schema = self.schema::<T>();
        self.body(JSON, &schema, example)
    }

    /// A JSON body of a type.
    pub(super) fn takes<T: ToSchema>(self, example: &Value) -> Self {
        self.may_take::<T>(example).needs_body()
    }

    /// A body of a schema, which may be left out. What has no JSON has no example.
    pub(super) fn body(mut self, media_type: &str, schema: &Value, example: &Value) -> Self {
        let content = &mut self.content["requestBody"]["content"][media_type];
        *content = media(schema, example);
        self
    }

    /// The body may not be left out.
    pub(super) fn needs_body(mut self) -> Self {
        self.content["requestBody"]["required"] = true.into();
        self
    }

    /// A field of the header, or a part of the query, that may be left out.
    pub(super) fn parameter(mut self, place: &str, name: &str, content: &Value) -> Self {
        let mut parameter = json!({"name": name, "in": place});
        for (member, value) in content.as_object().into_iter().flatten() {
            parameter[member] = value.clone();
        }
        match &mut self.content["parameters"] {
            Value::Array(parameters) => parameters.push(parameter),
            none => *none = json!([parameter]),
        }
        self
    }

    /// The type of the JSON that it answers with.
    pub(super) fn answers<T: ToSchema>(self, says: &str, example: &Value) -> Self {
        self.answers_with::<T>(StatusCode::OK, says, example)
    }

    /// The same with another status.
    pub(super) fn answers_with<T: ToSchema>(
        mut self,
        status: StatusCode,
        says: &str,
        example: &Value,
    ) -> Self {
        let schema = self.schema::<T>();
        self.answer((status, says), JSON, &schema, example)
    }

    /// A JSON list of a type that it answers with.
    pub(super) fn lists<T: ToSchema>(mut self, says: &str, example: &Value) -> Self {
        let schema = json!({"type": "array", "items": self.schema::<T>()});
        self.answer((StatusCode::OK, says), JSON, &schema, example)
    }

    /// An answer of a schema.
    pub(super) fn answer(
        mut self,
        (status, says): (StatusCode, &str),
        media_type: &str,
        schema: &Value,
        example: &Value,
    ) -> Self {
        let response = &mut self.content["responses"][status.as_str()];
        response["description"] = says.into();
        response["content"][media_type] = media(schema, example);
        self
    }

    /// An answer that has no body.
    pub(super) fn answers_nothing(self, says: &str) -> Self {
        self.answers_empty(StatusCode::OK, says)
    }

    /// The same with another status.
    pub(super) fn answers_empty(mut self, status: StatusCode, says: &str) -> Self {
        self.content["responses"][status.as_str()] = json!({"description": says});
        self
    }

    /// The fields of the header that an answer has beside those of every answer.
    pub(super) fn sends(mut self, status: StatusCode, fields: &[&str]) -> Self {
        for field in fields {
            self.content["responses"][status.as_str()]["headers"][*field] = header(field);
        }
        self
    }

    /// Statuses of refusals beyond those that every operation has, and those that were named before.
    pub(super) fn refuses(mut self, statuses: &[u16]) -> Self {
        let statuses = statuses.iter().map(|status| Value::from(*status));
        match &mut self.content[REFUSES] {
            Value::Array(known) => known.extend(statuses),
            none => *none = statuses.collect(),
        }
        self
    }

    /// Names a schema that no type has.
    pub(super) fn with_schema(mut self, name: &str, schema: Value) -> Self {
        self.schemas.insert(name.to_owned(), schema);
        self
    }

    /// Puts it into a document.
    pub(super) fn add_to(self, document: &mut Value) {
        document["paths"][self.path][self.method] = self.content;
        for (name, schema) in self.schemas {
            document["components"]["schemas"][name] = schema;
        }
    }

    /// What stands for a type, whose schema and those that it needs are noted.
    pub(super) fn schema<T: ToSchema>(&mut self) -> Value {
        let mut schemas = Vec::new();
        T::schemas(&mut schemas);
        schemas.push((T::name().into_owned(), T::schema()));
        for (name, schema) in schemas {
            let schema = serde_json::to_value(schema).unwrap_or_default();
            self.schemas.insert(name, schema);
        }
        reference(&T::name())
    }
}

/// The member that holds the statuses of refusals until the document is completed.
pub(super) const REFUSES: &str = "x-refuses";

/// Content of a media type.
pub(super) fn media(schema: &Value, example: &Value) -> Value {
    let mut content = json!({"schema": schema});
    if !example.is_null() {
        content["example"] = example.clone();
    }
    content
}
