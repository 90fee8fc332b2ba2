//! Loops, and names for values.

use std::sync::Arc;

use super::super::plan::{Append, Bind, Fold, Insert, OptionalMap};
use super::super::value::{Fatal, Fault, Outcome, Value};
use super::{Run, Variable, exceeded};

impl<'p, 'a> Run<'p, 'a> {
    #[inline(never)]
    pub(super) fn bind(&mut self, bind: &'p Bind) -> Outcome<'a> {
        self.variables[bind.variable] = Variable::Pending(Some(&bind.value));
        self.value(&bind.body)
    }

    /// As `target.hasValue() ? optional.of(bind(variable, target.value(), body)) : optional.none()`, which evaluates
    /// the target twice: here it is once, and counted twice.
    #[inline(never)]
    pub(super) fn optional_map(&mut self, map: &'p OptionalMap) -> Outcome<'a> {
        let before = self.budget.spent();
        let target = self.value(&map.target);
        let again = self.budget.spent() - before;
        self.budget.charge(1)?;
        match target? {
            Value::Optional(None) => {
                self.budget.charge(1)?;
                Ok(Value::Optional(None))
            }
            Value::Optional(Some(inner)) => {
                self.variables[map.variable] = Variable::Charged((*inner).clone(), again + 1);
                let body = self.value(&map.body);
                if map.flat {
                    return body;
                }
                if !exceeded(&body) {
                    self.budget.charge(1)?;
                }
                body.map(Value::some)
            }
            _ => Err(Fault::no_such_overload()),
        }
    }

    #[inline(never)]
    pub(super) fn fold(&mut self, fold: &'p Fold) -> Outcome<'a> {
        let range = self.value(&fold.range)?;
        let start = self.value(&fold.start);
        self.variables[fold.collected] = Variable::Known(start);
        match &range {
            Value::List(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    if !self.turn(fold, index, element)? {
                        break;
                    }
                }
            }
            map if map.is_map() => {
                for (key, value) in map.entries() {
                    let going = match fold.second {
                        Some(_) => self.turn(fold, key, &value)?,
                        None => self.turn(fold, Value::Null, &key)?,
                    };
                    if !going {
                        break;
                    }
                }
            }
            other => return Err(Fault::new(format!("got '{}', expected iterable type", other.type_name()))),
        }
        self.value(&fold.result)
    }

    /// One turn of a loop: whether it goes on.
    fn turn(&mut self, fold: &'p Fold, position: Value<'a>, element: &Value<'a>) -> Result<bool, Fault> {
        self.budget.work(1)?;
        match fold.second {
            None => self.variables[fold.first] = Variable::Known(Ok(element.clone())),
            Some(second) => {
                self.variables[fold.first] = Variable::Known(Ok(position));
                self.variables[second] = Variable::Known(Ok(element.clone()));
            }
        }
        match self.value(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(Fault::Fatal(why)) => return Err(Fault::Fatal(why)),
            _ => {}
        }
        let next = self.value(&fold.step);
        if exceeded(&next) {
            return Err(Fault::Fatal(Fatal::Exceeded));
        }
        self.variables[fold.collected] = Variable::Known(next);
        Ok(true)
    }

    /// What a loop has collected, taken out to be added to.
    fn taken(&mut self, collected: usize) -> Outcome<'a> {
        match std::mem::replace(&mut self.variables[collected], Variable::Pending(None)) {
            Variable::Known(value) => value,
            Variable::Pending(_) | Variable::Charged(..) => Err(Fault::no_such_overload()),
        }
    }

    #[inline(never)]
    pub(super) fn append(&mut self, append: &'p Append) -> Outcome<'a> {
        let element = self.value(&append.element);
        if exceeded(&element) {
            return element;
        }
        // Reading what is collected, making the list of one, adding it.
        self.budget.charge(1 + append.cost + 1)?;
        self.budget.work(1)?;
        let collected = self.taken(append.collected)?;
        let element = element?;
        let Value::List(mut list) = collected else { return Err(Fault::no_such_overload()) };
        Arc::make_mut(&mut list).push(element);
        Ok(Value::List(list))
    }

    #[inline(never)]
    pub(super) fn insert(&mut self, insert: &'p Insert) -> Outcome<'a> {
        self.budget.charge(1)?;
        let key = insert.key.as_ref().map(|key| self.value(key)).transpose()?;
        let value = self.value(&insert.value)?;
        self.budget.charge(1)?;
        let Value::Map(mut map) = self.taken(insert.collected)? else {
            return Err(Fault::no_such_overload());
        };
        let entries = match key {
            Some(key) => vec![(key, value)],
            None => value.entries(),
        };
        let to = Arc::make_mut(&mut map);
        for (key, value) in entries {
            self.budget.work(1)?;
            match to.insert(key.clone(), value) {
                Some(true) => {}
                Some(false) => {
                    return Err(Fault::new(format!("insert failed: key {} already exists", key.shown())));
                }
                None => return Err(Fault::new("unsupported key type")),
            }
        }
        Ok(Value::Map(map))
    }
}
